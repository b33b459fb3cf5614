import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOTS = ['index.html', 'package-lock.json', 'package.json', 'public', 'sources.ts', 'src', 'tsconfig.json', 'vite.config.ts']

function files(path: string): string[] {
  try {
    return readdirSync(path).sort().flatMap((name) => files(join(path, name)))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return [path]
    throw error
  }
}

/** SHA-256 over names and contents of all that the page is built from; tests/studio/test_page.py does the same sum. */
export function sourcesDigest(): string {
  const sum = createHash('sha256')
  for (const path of ROOTS.flatMap(files).sort()) {
    const content = createHash('sha256').update(readFileSync(path)).digest('hex')
    sum.update(`${path}\0${content}\n`)
  }
  return sum.digest('hex')
}
