import type { Job, Picture } from './types'

export interface Listener {
  job: (job: Job) => void
  picture: (picture: Picture) => void
  /** A picture was deleted, here or elsewhere. */
  removed: () => void
  /** The stream is open; what happened while it was not may have been missed. */
  open: () => void
  /** The stream broke; it is tried again by itself. */
  away: () => void
}

const FIRST_WAIT = 1_000
const LONGEST_WAIT = 15_000

/** Follows the server's events until the returned function is called, through breaks of any length. */
export function follow(listener: Listener): () => void {
  let source: EventSource | null = null
  let timer: number | undefined
  let wait = FIRST_WAIT

  function connect() {
    source = new EventSource('/api/events')
    source.addEventListener('open', () => {
      wait = FIRST_WAIT
      listener.open()
    })
    source.addEventListener('job', (event) => listener.job(JSON.parse((event as MessageEvent<string>).data) as Job))
    source.addEventListener('picture', (event) => listener.picture(JSON.parse((event as MessageEvent<string>).data) as Picture))
    source.addEventListener('removed', () => listener.removed())
    source.addEventListener('error', broken)
  }

  function broken() {
    listener.away()
    // The browser tries again by itself unless the server answered with an error or its proxy with a page.
    if (source?.readyState !== EventSource.CLOSED) return
    timer = window.setTimeout(connect, wait)
    wait = Math.min(wait * 2, LONGEST_WAIT)
  }

  connect()
  return () => {
    window.clearTimeout(timer)
    source?.close()
  }
}
