import { useEffect, useRef, useState, type ReactNode } from 'react'

import { recallFile } from '../gallery/use'

function hasFiles(event: DragEvent): boolean {
  return !!event.dataTransfer?.types.includes('Files')
}

/** Takes pictures that are dropped anywhere on the page, or pasted. */
export function Drop({ children }: { children: ReactNode }) {
  const [over, setOver] = useState(false)
  const depth = useRef(0)
  useEffect(() => {
    const enter = (event: DragEvent) => {
      if (!hasFiles(event)) return
      depth.current += 1
      setOver(true)
    }
    const leave = (event: DragEvent) => {
      if (!hasFiles(event)) return
      depth.current -= 1
      if (depth.current <= 0) setOver(false)
    }
    const stay = (event: DragEvent) => hasFiles(event) && event.preventDefault()
    const take = (files: FileList | undefined) => {
      const file = [...(files ?? [])].find(({ type }) => type.startsWith('image/'))
      if (file) void recallFile(file)
      return !!file
    }
    const drop = (event: DragEvent) => {
      depth.current = 0
      setOver(false)
      if (!hasFiles(event)) return
      event.preventDefault()
      take(event.dataTransfer?.files)
    }
    const paste = (event: ClipboardEvent) => take(event.clipboardData?.files) && event.preventDefault()
    const listeners = { dragenter: enter, dragleave: leave, dragover: stay, drop, paste } as Record<string, EventListener | ((event: never) => void)>
    for (const [name, listener] of Object.entries(listeners)) window.addEventListener(name, listener as EventListener)
    return () => {
      for (const [name, listener] of Object.entries(listeners)) window.removeEventListener(name, listener as EventListener)
    }
  }, [])
  return (
    <>
      {children}
      {over && (
        <div className="drop" aria-hidden>
          <p>Drop it to get its recipe back</p>
          <small>PNG, JPEG or WebP, made with Impasto, A1111, ComfyUI or InvokeAI. Any other picture goes onto the canvas.</small>
        </div>
      )}
    </>
  )
}
