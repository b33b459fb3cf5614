import { create } from 'zustand'
import { persist } from 'zustand/middleware'

import type { ExtensionRequest, HiresRequest, Settings } from '../api/types'
import type { Stroke } from '../edit/mask'

export interface StartPicture {
  /** Id of a picture or an upload that the server has, and where it is; null when this browser keeps it. */
  image: string | null
  url: string | null
  /** Key under which this browser keeps it; null when the server has it. */
  kept: string | null
  width: number
  height: number
  strength: number
}

export interface MaskSettings {
  blur: number
  content: 'original' | 'fill' | 'noise' | 'nothing'
  area: 'whole' | 'masked'
  padding: number
  invert: boolean
}

export interface AxisDraft {
  name: string
  values: string
}

export interface Draft {
  model: string | null
  prompt: string
  negative: string
  style: string | null
  count: number
  seed: number | null
  seedLocked: boolean
  /** What differs from the model's own defaults. */
  settings: Partial<Settings>
  adapters: { id: string; weight: number }[]
  start: StartPicture | null
  strokes: Stroke[]
  undone: Stroke[]
  mask: MaskSettings
  extension: ExtensionRequest
  variation: { on: boolean; seed: number; strength: number }
  /** `given` is a second pass that was recalled with more to it than a scale; it holds until the scale is changed. */
  hires: { on: boolean; scale: number; strength: number; given: HiresRequest | null }
  seamless: '' | 'x' | 'y' | 'xy'
  clipSkip: number
  /** What was recalled with a picture and has no control here; sent as it is, so that the picture comes out the same. */
  extras: Record<string, unknown>
  grid: { on: boolean; x: AxisDraft; y: AxisDraft }
}

export const NO_EXTENSION: ExtensionRequest = { left: 0, top: 0, right: 0, bottom: 0 }
export const MASK: MaskSettings = { blur: 4, content: 'original', area: 'whole', padding: 32, invert: false }

export const EMPTY: Draft = {
  model: null,
  prompt: '',
  negative: '',
  style: null,
  count: 4,
  seed: null,
  seedLocked: false,
  settings: {},
  adapters: [],
  start: null,
  strokes: [],
  undone: [],
  mask: MASK,
  extension: NO_EXTENSION,
  variation: { on: false, seed: 0, strength: 0.2 },
  hires: { on: false, scale: 2, strength: 0.6, given: null },
  extras: {},
  seamless: '',
  clipSkip: 1,
  grid: { on: false, x: { name: 'steps', values: '' }, y: { name: '', values: '' } },
}

/** What the person has written and chosen; every change is kept, so that a reload loses nothing. */
export const useDraft = create<Draft>()(
  persist(() => EMPTY, {
    name: 'impasto.draft',
    version: 2,
    merge: (kept, fresh) => ({ ...fresh, ...(kept as Partial<Draft>) }),
  }),
)

export function edit(change: Partial<Draft> | ((draft: Draft) => Partial<Draft>)): void {
  useDraft.setState(change)
}

export function setSetting<K extends keyof Settings>(name: K, value: Settings[K] | undefined): void {
  edit(({ settings }) => {
    const { [name]: _, ...rest } = settings
    return { settings: value === undefined ? rest : { ...rest, [name]: value } }
  })
}

/** Puts a picture on the canvas, with a clean mask. */
export function setStart(start: StartPicture | null): void {
  edit({ start, strokes: [], undone: [], extension: NO_EXTENSION })
}
