import { del, get, set } from 'idb-keyval'

import { onceKey } from '../api/client'

/** Keeps a file in this browser until `forget`, across reloads; returns its key. */
export async function keep(file: Blob): Promise<string> {
  const key = `picture-${onceKey()}`
  await set(key, file)
  return key
}

export const recallKept = (key: string) => get<Blob>(key)
export const forget = (key: string) => del(key)
