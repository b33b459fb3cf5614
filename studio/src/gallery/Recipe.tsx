import { Check, Copy } from 'lucide-react'
import { useState } from 'react'

import type { Picture } from '../api/types'
import { IconButton } from '../controls'
import { complain } from '../controls/notices'

function rows(picture: Picture): [string, string][] {
  const recipe = picture.recipe ?? {}
  const text = (key: string) => (recipe[key] === undefined || recipe[key] === null ? '' : String(recipe[key]))
  const adapters = ((recipe.adapters as { name: string; weight: number }[] | undefined) ?? []).map(({ name, weight }) => `${name} × ${weight}`)
  const start = recipe.start as { strength: number } | undefined | null
  const found: [string, string][] = [
    ['Negative prompt', picture.negative_prompt],
    ['Model', text('model_name') || picture.model],
    ['Adapters', adapters.join(', ')],
    ['Seed', String(picture.seed ?? '')],
    ['Size', `${picture.width} × ${picture.height}`],
    ['Sampler', [text('sampler'), text('schedule')].filter(Boolean).join(', ')],
    ['Steps', text('steps')],
    ['Guidance', text('guidance')],
    ['Start picture', start ? `repainted by ${start.strength}` : ''],
    ['Mask', recipe.mask ? 'part of the picture' : ''],
    ['Number format', text('dtype')],
  ]
  return found.filter(([, value]) => value !== '')
}

function CopyButton({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false)
  function copy() {
    // Without https the clipboard may be closed to pages.
    if (!navigator.clipboard) return complain(new Error('This browser lets pages copy only over https or on this computer. Select the text instead.'))
    navigator.clipboard.writeText(text).then(() => {
      setDone(true)
      setTimeout(() => setDone(false), 1500)
    }, complain)
  }
  return (
    <IconButton label={label} onPress={copy}>
      {done ? <Check aria-hidden /> : <Copy aria-hidden />}
    </IconButton>
  )
}

/** The recipe in one line, for under a picture. */
export function summary(picture: Picture): string {
  const recipe = picture.recipe ?? {}
  const parts = [recipe.model_name ?? picture.model, picture.seed !== null && `seed ${picture.seed}`, recipe.sampler, recipe.steps && `${recipe.steps} steps`, recipe.guidance && `guidance ${recipe.guidance}`]
  return parts.filter(Boolean).join(' · ')
}

export function Recipe({ picture }: { picture: Picture }) {
  return (
    <section className="recipe" aria-label="Recipe">
      <h3>
        Recipe <CopyButton label="Copy the recipe as JSON" text={JSON.stringify(picture.recipe ?? picture, null, 2)} />
      </h3>
      <dl>
        {rows(picture).map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  )
}
