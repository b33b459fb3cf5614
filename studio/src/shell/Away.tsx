import { useEffect, useState } from 'react'

import { useLive } from '../state/server'

const PATIENCE = 1_500

/** Says that the server is away, and that nothing is lost; short breaks are not worth a word. */
export function Away() {
  const away = useLive((live) => live.connection === 'away')
  const [said, setSaid] = useState(false)
  useEffect(() => {
    if (!away) return setSaid(false)
    const timer = setTimeout(() => setSaid(true), PATIENCE)
    return () => clearTimeout(timer)
  }, [away])
  if (!said) return null
  return (
    <p className="away" role="status">
      <b>The server is away.</b> Your words and your mask are kept here, and its jobs there. The page goes on by itself when it is back; if it was stopped, start it again with <code>impasto serve</code>.
    </p>
  )
}
