import { useQuery } from '@tanstack/react-query'
import { useRef, useState, type KeyboardEvent } from 'react'

import { api } from '../api/client'
import type { Count } from '../api/types'
import { edit, useDraft } from '../state/draft'
import { useModel, useSettled } from '../state/server'
import { useView } from '../state/view'
import { weigh } from './emphasis'
import { styled } from './request'

/** Says how many tokens the words are, and when they are more than one chunk of the text encoder. */
function Tokens({ count, id }: { count: Count | undefined; id: string }) {
  const long = !!count && count.chunks > 1
  return (
    <span id={id} className={`tokens ${long ? 'long' : ''}`}>
      {count && `${count.tokens} of ${count.room} tokens${long ? ` in ${count.chunks} parts` : ''}`}
    </span>
  )
}

interface WordsProps {
  name: 'prompt' | 'negative'
  label: string
  placeholder: string
  rows: number
  count: Count | undefined
}

function Words({ name, label, placeholder, rows, count }: WordsProps) {
  const value = useDraft((draft) => draft[name])
  const box = useRef<HTMLTextAreaElement>(null)

  function weighed(event: KeyboardEvent<HTMLTextAreaElement>) {
    if (!(event.ctrlKey || event.metaKey) || (event.key !== 'ArrowUp' && event.key !== 'ArrowDown')) return
    event.preventDefault()
    const at = event.currentTarget
    const next = weigh({ text: at.value, start: at.selectionStart, end: at.selectionEnd }, event.key === 'ArrowUp' ? 1 : -1)
    edit({ [name]: next.text })
    requestAnimationFrame(() => box.current?.setSelectionRange(next.start, next.end))
  }

  return (
    <div className={`words ${name}`}>
      <label htmlFor={name}>{label}</label>
      <textarea
        ref={box}
        id={name}
        value={value}
        rows={rows}
        placeholder={placeholder}
        spellCheck={false}
        autoCapitalize="off"
        aria-describedby={`${name}-tokens`}
        onChange={(event) => edit({ [name]: event.target.value })}
        onKeyDown={weighed}
      />
      <Tokens id={`${name}-tokens`} count={count} />
    </div>
  )
}

export function PromptBox() {
  const full = useView((view) => view.full)
  const model = useModel()
  const prompt = useDraft((draft) => draft.prompt)
  const style = useDraft((draft) => draft.style)
  const negative = useDraft((draft) => draft.negative)
  const [asked, askedNegative] = useSettled(`${styled(prompt, style, model)}\0${negative}`, 250).split('\0') as [string, string]
  const { data: counts } = useQuery({
    queryKey: ['tokens', model?.id, asked, askedNegative],
    queryFn: () => api.tokens(model!.id, asked, askedNegative),
    enabled: !!model,
    placeholderData: (before) => before,
  })
  const [example] = useState(() => Math.random())
  const examples = model?.examples ?? []
  const placeholder = examples.length ? `For example: ${examples[Math.floor(example * examples.length)]}` : 'What should the picture show?'
  return (
    <>
      <Words name="prompt" label="What to paint" placeholder={placeholder} rows={full ? 4 : 3} count={counts?.prompt} />
      {full && <Words name="negative" label="What to keep out" placeholder="Words to move away from" rows={2} count={counts?.negative_prompt} />}
    </>
  )
}
