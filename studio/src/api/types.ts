// The shapes of the server's native API, as docs/server.md and /openapi.json describe them.

export interface Named {
  name: string
  aliases?: string[]
}

/** What a recipe is made with, and a model has habits of its own in. */
export interface Settings {
  sampler: string
  schedule: string
  steps: number
  guidance: number
  width: number
  height: number
}

export interface Defaults extends Settings {
  /** Of what sides are multiples. */
  multiple: number
}

export interface Limits {
  max_side: number
  max_steps: number
  max_count: number
  max_queue: number
  max_upload_bytes: number
}

export interface Capabilities {
  version: string
  defaults: Record<string, Partial<Defaults>>
  limits: Partial<Limits>
  samplers: Named[]
  schedules: Named[]
  upscalers: (string | Named)[]
  noise?: string[]
  features?: string[]
  axes?: Record<string, string>
  default_model?: string
}

export interface Style {
  name: string
  /** Words with a {prompt} slot, or words to put after the prompt. */
  prompt: string
}

export interface Model {
  id: string
  name: string
  digest: string | null
  short_hash: string | null
  family: string | null
  prediction: string | null
  resolution: number | null
  licence: string | null
  size_bytes: number | null
  loaded: boolean
  has_corpus: boolean
  styles?: Style[]
  examples?: string[]
}

export interface MakerCredit {
  name: string
  uri: string | null
  rows: number
  licences: string[]
  /** Collection -> works. */
  collections: Record<string, number>
  /** Basis of the right to use them -> works. */
  consent: Record<string, number>
}

export interface CorpusOrigin {
  name: string
  root: string
  /** Works that makers and licences are told of: those learned from, or where that is not known all of the corpus. */
  rows: number
  /** Whether those are just the works that the receipt names. */
  learned: boolean
  /** How many each part learned from; all parts that are not named learned from those of null. */
  uses: { rows: number; part: string | null }[]
  /** Works in the corpus. */
  kept: number
  /** Of those, the works that it is measured on and never learns from. */
  held_out: number
  refused: number
  licences: { licence: string; rows: number }[]
  makers: MakerCredit[]
}

export interface Origin {
  receipt: { kind: string; name: string; licence: string | null; corpora: { root: string; rows: number }[] } | null
  corpus: CorpusOrigin | null
  parents: { name: string; identity: string; role: string }[]
}

export interface Adapter {
  id: string
  name: string
  kind: 'lora' | 'embedding' | string
  base: string | null
  trigger: string | null
  /** Works that it learned from, by the right to use them; null where it does not say. */
  consent: Record<string, number> | null
  size_bytes: number | null
  thumbnail: boolean
}

export interface Count {
  tokens: number
  chunks: number
  /** Tokens that so many chunks have room for. */
  room: number
}

export interface Upload {
  id: string
  width: number
  height: number
}

export interface StartRequest {
  image: string
  strength: number
}

export interface MaskRequest {
  image?: string | null
  invert?: boolean
  blur?: number
  content?: 'original' | 'fill' | 'noise' | 'nothing'
  area?: 'whole' | 'masked'
  padding?: number
}

export interface ExtensionRequest {
  left: number
  top: number
  right: number
  bottom: number
}

export interface HiresRequest {
  scale?: number
  width?: number
  height?: number
  upscaler?: string
  strength?: number
  steps?: number | null
}

export interface VariationRequest {
  seed: number
  strength: number
}

export interface PictureRequest {
  model: string
  prompt: string
  negative_prompt?: string
  count?: number
  seed?: number
  sampler?: string
  schedule?: string
  steps?: number
  guidance?: number
  width?: number
  height?: number
  adapters?: { id: string; weight: number }[]
  start?: StartRequest
  mask?: MaskRequest
  extension?: ExtensionRequest
  hires?: HiresRequest
  variation?: VariationRequest
  seamless?: 'x' | 'y' | 'xy'
  clip_skip?: number
  [other: string]: unknown
}

export interface Axis {
  name: string
  values: (string | number)[]
}

export type JobState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled'

export interface ProblemBody {
  code: string
  message: string
  field?: string | null
}

export interface Job {
  id: string
  kind: string
  state: JobState
  position: number | null
  progress: number
  step: number
  steps: number
  eta_seconds: number | null
  preview: string | null
  request: Partial<PictureRequest> | { request: PictureRequest; axes: Axis[] }
  pictures: string[]
  error: string | ProblemBody | null
  attempts: number
  priority: number
  created: string | number
  started: string | number | null
  finished: string | number | null
}

export interface Picture {
  id: string
  job: string | null
  created: string | number
  width: number
  height: number
  seed: number | null
  prompt: string
  negative_prompt: string
  model: string
  model_digest: string | null
  recipe: Record<string, unknown> | null
  starred: boolean
  url: string
  thumbnail: string
  format: string
  kind: 'picture' | 'sheet'
}

export interface PicturePage {
  pictures: Picture[]
  next: string | null
}

export interface Recall {
  /** The program that made the picture; null when it says nothing. */
  source: string | null
  request: Record<string, unknown>
  recipe: Record<string, unknown> | null
  warnings: string[]
}
