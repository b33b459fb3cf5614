import { api, onceKey, Problem } from '../api/client'
import type { Adapter, Axis, ExtensionRequest, HiresRequest, MaskRequest, Model, PictureRequest, Settings, VariationRequest } from '../api/types'
import { maskFile } from '../edit/mask'
import { EMPTY, NO_EXTENSION, type Draft, type StartPicture } from '../state/draft'
import { recallKept } from '../state/kept'

const SIDE_MULTIPLE = 8

/** The words that are sent: the prompt in the chosen style of the model. */
export function styled(prompt: string, style: string | null, model: Model | undefined): string {
  const words = model?.styles?.find((known) => known.name === style)?.prompt
  if (!words) return prompt
  return words.includes('{prompt}') ? words.replace('{prompt}', prompt) : `${prompt}, ${words}`
}

export function multiple(value: number, of = SIDE_MULTIPLE): number {
  return Math.max(of, Math.round(value / of) * of)
}

export function extends_(extension: ExtensionRequest): boolean {
  return Object.values(extension).some((pixels) => pixels > 0)
}

/** What the draft asks for, apart from the files that are to be uploaded first. */
export function plainRequest(draft: Draft, model: Model): PictureRequest {
  const { variation, hires } = draft
  return {
    ...draft.extras,
    model: model.id,
    prompt: styled(draft.prompt, draft.style, model),
    count: draft.count,
    ...(draft.negative.trim() ? { negative_prompt: draft.negative } : {}),
    ...(draft.seedLocked && draft.seed !== null ? { seed: draft.seed } : {}),
    ...draft.settings,
    ...(draft.adapters.length ? { adapters: draft.adapters } : {}),
    ...(variation.on ? { variation: { seed: variation.seed, strength: variation.strength } } : {}),
    ...(hires.on && !draft.start ? { hires: { ...(hires.given ?? { scale: hires.scale }), strength: hires.strength } } : {}),
    ...(draft.seamless ? { seamless: draft.seamless } : {}),
    ...(draft.clipSkip > 1 ? { clip_skip: draft.clipSkip } : {}),
  }
}

async function startId(start: StartPicture): Promise<string> {
  if (start.image) return start.image
  const file = start.kept ? await recallKept(start.kept) : undefined
  if (!file) throw new Problem('The start picture is no longer in this browser. Drop it here again.', 400, 'start_lost', 'start')
  return (await api.upload(file)).id
}

/** The size of a start picture with what is added around it. */
function grown({ width, height }: StartPicture, { left, top, right, bottom }: ExtensionRequest) {
  return { width: width + left + right, height: height + top + bottom }
}

async function pictured(draft: Draft, start: StartPicture): Promise<Partial<PictureRequest>> {
  const mask = await maskFile(draft.strokes, start.width, start.height)
  const extended = extends_(draft.extension)
  const image = await startId(start)
  return {
    start: { image, strength: start.strength },
    ...(mask || extended ? { mask: { ...draft.mask, ...(mask ? { image: (await api.upload(mask, 'mask.png')).id } : {}) } } : {}),
    ...(extended ? { extension: draft.extension, ...grown(start, draft.extension) } : {}),
  }
}

/** The whole request of the draft; uploads the start picture and the mask. */
export async function request(draft: Draft, model: Model): Promise<PictureRequest> {
  const plain = plainRequest(draft, model)
  return draft.start ? { ...plain, ...(await pictured(draft, draft.start)) } : plain
}

const TEXT_AXES = new Set(['sampler', 'schedule', 'prompt', 'negative_prompt', 'noise', 'seamless'])

/** The values of an axis as a person writes them: `10, 20, 30`, `2:8:4` for 4 from 2 to 8, `1:4` for 1, 2, 3, 4. */
export function axisValues(name: string, text: string): (string | number)[] {
  const range = /^\s*([\d.]+):([\d.]+)(?::(\d+))?\s*$/.exec(text)
  if (range && !TEXT_AXES.has(name)) {
    const [first, last] = [Number(range[1]), Number(range[2])]
    const n = range[3] ? Number(range[3]) : Math.round(last - first) + 1
    return Array.from({ length: n }, (_, k) => Number((first + (k * (last - first)) / Math.max(n - 1, 1)).toFixed(6)))
  }
  const parts = text.split(name.includes('prompt') ? '|' : ',').map((part) => part.trim()).filter(Boolean)
  return TEXT_AXES.has(name) ? parts : parts.map(Number)
}

/** The axes that the draft asks for; an axis without values is left out. */
export function axes(draft: Draft): Axis[] {
  return [draft.grid.x, draft.grid.y]
    .filter((axis) => axis.name && axis.values.trim())
    .map((axis) => ({ name: axis.name, values: axisValues(axis.name, axis.values) }))
}

/** Sends the draft; `key` makes it count once, also when the network lost the answer and it is sent again. */
export async function make(draft: Draft, model: Model, key = onceKey()) {
  const whole = await request(draft, model)
  const wanted = draft.grid.on ? axes(draft) : []
  if (draft.grid.on && !wanted.length) {
    throw new Problem('The grid has no values yet. Write some, such as "10, 20, 30", or switch the grid off.', 400, 'no_axis', 'axes')
  }
  return wanted.length ? api.grid({ ...whole, count: 1 }, wanted, key) : api.make(whole, key)
}

type Known = { models: Model[]; adapters: Adapter[] }

/** Fields of a request that have controls here, or are no matter of the recipe. */
const CONTROLLED = new Set([
  ...['model', 'prompt', 'negative_prompt', 'count', 'seed', 'sampler', 'schedule', 'steps', 'guidance', 'width', 'height'],
  ...['adapters', 'variation', 'hires', 'seamless', 'clip_skip', 'start', 'mask', 'extension', 'priority'],
])

/** The draft that asks for what `from` asks for, and what of it could not be taken over. */
export function draftOf(from: Record<string, unknown>, known: Known): { draft: Partial<Draft>; lost: string[] } {
  const lost: string[] = []
  const text = (key: string) => (typeof from[key] === 'string' ? (from[key] as string) : '')
  const number = (key: string) => (typeof from[key] === 'number' ? (from[key] as number) : undefined)
  const model = known.models.find(({ id }) => id === from.model)
  const settings: Partial<Settings> = {}
  for (const key of ['steps', 'guidance', 'width', 'height'] as const) if (number(key) !== undefined) settings[key] = number(key)
  for (const key of ['sampler', 'schedule'] as const) if (text(key)) settings[key] = text(key)
  if ((from.mask as MaskRequest | undefined)?.image) lost.push('Its mask is not shown here; paint it again.')
  const variation = from.variation as VariationRequest | undefined
  return {
    draft: {
      ...(model ? { model: model.id } : {}),
      prompt: text('prompt'),
      negative: text('negative_prompt'),
      style: null,
      settings,
      seed: number('seed') ?? null,
      seedLocked: false,
      adapters: adaptersOf(from, known.adapters, lost),
      variation: variation?.strength ? { on: true, seed: variation.seed, strength: variation.strength } : EMPTY.variation,
      hires: hiresOf(from.hires as HiresRequest | undefined, settings.width),
      seamless: (text('seamless') as Draft['seamless']) || '',
      clipSkip: number('clip_skip') ?? 1,
      extras: Object.fromEntries(Object.entries(from).filter(([key]) => !CONTROLLED.has(key))),
      start: null,
      strokes: [],
      undone: [],
      extension: (from.extension as ExtensionRequest | undefined) ?? NO_EXTENSION,
      grid: EMPTY.grid,
    },
    lost,
  }
}

function hiresOf(hires: HiresRequest | undefined, width: number | undefined): Draft['hires'] {
  if (!hires) return EMPTY.hires
  const scale = hires.scale ?? (width && hires.width ? hires.width / width : EMPTY.hires.scale)
  return { on: true, scale, strength: hires.strength ?? EMPTY.hires.strength, given: hires }
}

function adaptersOf(from: Record<string, unknown>, adapters: Adapter[], lost: string[]): Draft['adapters'] {
  const uses = Array.isArray(from.adapters) ? (from.adapters as { id: string; weight?: number }[]) : []
  return uses.flatMap((use) => {
    const found = adapters.find((adapter) => adapter.id === use.id || adapter.name === use.id)
    if (!found) lost.push(`The adapter ${use.id} is not here.`)
    return found ? [{ id: found.id, weight: use.weight ?? 1 }] : []
  })
}
