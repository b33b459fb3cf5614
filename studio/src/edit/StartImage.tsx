import { useEffect, useState } from 'react'

import type { StartPicture } from '../state/draft'
import { recallKept } from '../state/kept'

/** The address of a start picture, wherever it is kept; undefined while it is looked for, null when it is gone. */
export function useStartUrl(start: StartPicture | null): string | null | undefined {
  const [url, setUrl] = useState<string | null>()
  const { url: served = null, kept = null } = start ?? {}
  useEffect(() => {
    let made: string | undefined
    let gone = false
    if (served) setUrl(served)
    else if (kept) {
      void recallKept(kept).then((file) => {
        if (gone) return
        made = file && URL.createObjectURL(file)
        setUrl(made ?? null)
      })
    } else setUrl(null)
    return () => {
      gone = true
      if (made) URL.revokeObjectURL(made)
    }
  }, [served, kept])
  return url
}

export function StartImage({ start, className }: { start: StartPicture; className: string }) {
  const url = useStartUrl(start)
  return url ? <img className={className} src={url} alt="The start picture" /> : <span className={className} />
}
