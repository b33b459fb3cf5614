const STEP = 0.1

/** A text with a selection in it. */
export interface Selected {
  text: string
  start: number
  end: number
}

/** Makes the selected words, or the word at the cursor, heavier or lighter: `fox` becomes `(fox:1.1)`. */
export function weigh({ text, start, end }: Selected, direction: 1 | -1): Selected {
  const around = enclosing(text, start, end)
  if (around) return put(text, around, around.words, around.weight + direction * STEP)
  const word = start === end ? wordAt(text, start) : trimmed(text, start, end)
  if (word.start === word.end) return { text, start, end }
  return put(text, word, text.slice(word.start, word.end), 1 + direction * STEP)
}

function put(text: string, at: { start: number; end: number }, words: string, weight: number): Selected {
  const rounded = Math.max(0, Math.round(weight * 100) / 100)
  const piece = rounded === 1 ? words : `(${words}:${rounded})`
  const inner = at.start + (rounded === 1 ? 0 : 1)
  return { text: text.slice(0, at.start) + piece + text.slice(at.end), start: inner, end: inner + words.length }
}

function enclosing(text: string, start: number, end: number) {
  for (const match of text.matchAll(/\(([^()]*?):(\d+(?:\.\d+)?)\)/g)) {
    const [first, last] = [match.index, match.index + match[0].length]
    if (first <= start && end <= last) return { start: first, end: last, words: match[1]!, weight: Number(match[2]) }
  }
  return null
}

function wordAt(text: string, at: number) {
  const start = text.slice(0, at).search(/[^\s,()[\]]*$/)
  return { start, end: at + text.slice(at).search(/[\s,()[\]]|$/) }
}

function trimmed(text: string, start: number, end: number) {
  const words = text.slice(start, end)
  return { start: start + (words.length - words.trimStart().length), end: end - (words.length - words.trimEnd().length) }
}
