import type {
  Adapter,
  Axis,
  Capabilities,
  Count,
  Job,
  Model,
  Origin,
  Picture,
  PicturePage,
  PictureRequest,
  Recall,
  Upload,
} from './types'

const TOKEN = 'impasto.token'

/** What the server said no to, in its own words, or what kept it from answering. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly field: string | null = null,
  ) {
    super(message)
  }

  /** The server did not answer at all: trying again may help. */
  get away(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504
  }
}

const refusals = new Set<() => void>()

/** Calls `listener` whenever the server asks for its token. */
export function onTokenWanted(listener: () => void): () => void {
  refusals.add(listener)
  return () => refusals.delete(listener)
}

async function problem(response: Response): Promise<Problem> {
  const body: unknown = await response.json().catch(() => null)
  const error = (body as { error?: { code?: string; message?: string; field?: string | null } } | null)?.error
  const message = error?.message ?? `The server answered ${response.status} ${response.statusText || 'without a reason'}.`
  return new Problem(message, response.status, error?.code ?? 'unknown', error?.field ?? null)
}

async function call<T>(path: string, init: RequestInit = {}): Promise<T> {
  const headers = new Headers(init.headers)
  const token = sessionStorage.getItem(TOKEN)
  if (token) headers.set('Authorization', `Bearer ${token}`)
  let response: Response
  try {
    response = await fetch(path, { ...init, headers, credentials: 'same-origin' })
  } catch (error) {
    if ((error as Error).name === 'AbortError') throw error
    throw new Problem('The server does not answer. Is `impasto serve` still running?', 0, 'away')
  }
  if (response.status === 401) refusals.forEach((listener) => listener())
  if (!response.ok) throw await problem(response)
  return (response.status === 204 ? undefined : await response.json()) as T
}

function send<T>(method: string, path: string, body: unknown, headers: Record<string, string> = {}): Promise<T> {
  const init = { method, headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(body) }
  return call<T>(path, init)
}

function sendFile<T>(path: string, field: string, file: Blob, name: string): Promise<T> {
  const form = new FormData()
  form.append(field, file, name)
  return call<T>(path, { method: 'POST', body: form })
}

const id = encodeURIComponent

/** A key that makes a request count once, however often it is sent; `crypto.randomUUID` needs https, this does not. */
export function onceKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

export interface PictureQuery {
  search?: string
  starred?: boolean
  model?: string
  before?: string | null
  limit?: number
}

function query(values: PictureQuery): string {
  const found = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== '' && value !== false)
  return new URLSearchParams(found.map(([key, value]) => [key, String(value)])).toString()
}

export const api = {
  async login(token: string): Promise<void> {
    await send<unknown>('POST', '/api/login', { token })
    sessionStorage.setItem(TOKEN, token)
  },
  capabilities: () => call<Capabilities>('/api/capabilities'),
  models: () => call<{ models: Model[] }>('/api/models').then((found) => found.models),
  origin: (model: string) => call<Origin>(`/api/models/${id(model)}/origin`),
  adapters: () => call<{ adapters: Adapter[] }>('/api/adapters').then((found) => found.adapters),
  adapterThumbnail: (adapter: string) => `/api/adapters/${id(adapter)}/thumbnail`,
  tokens: (model: string, prompt: string, negative_prompt: string) =>
    send<{ prompt: Count; negative_prompt: Count }>('POST', '/api/tokens', { model, prompt, negative_prompt }),
  upload: (file: Blob, name = 'picture.png') => sendFile<Upload>('/api/uploads', 'file', file, name),
  uploadFile: (upload: string) => `/api/uploads/${id(upload)}/file`,
  recall: (file: File) => sendFile<Recall>('/api/recall', 'file', file, file.name),
  recallPicture: (picture: string) => call<Recall>(`/api/pictures/${id(picture)}/recall`),
  make: (request: PictureRequest, key: string) =>
    send<{ job: Job } | Job>('POST', '/api/jobs', request, { 'Idempotency-Key': key }).then(jobOf),
  grid: (request: PictureRequest, axes: Axis[], key: string) =>
    send<{ job: Job } | Job>('POST', '/api/grids', { request, axes }, { 'Idempotency-Key': key }).then(jobOf),
  jobs: (limit = 60) => call<{ jobs: Job[] }>(`/api/jobs?limit=${limit}`).then((found) => found.jobs),
  cancel: (job: string) => send<{ job: Job } | Job>('POST', `/api/jobs/${id(job)}/cancel`, {}).then(jobOf),
  retry: (job: string) => send<{ job: Job } | Job>('POST', `/api/jobs/${id(job)}/retry`, {}).then(jobOf),
  move: (job: string, before: string | null) => send<unknown>('POST', `/api/jobs/${id(job)}/move`, { before }),
  pictures: (values: PictureQuery) => call<PicturePage>(`/api/pictures?${query(values)}`),
  picture: (picture: string) => call<Picture>(`/api/pictures/${id(picture)}`),
  star: (picture: string, starred: boolean) => send<unknown>('PATCH', `/api/pictures/${id(picture)}`, { starred }),
  remove: (picture: string) => call<unknown>(`/api/pictures/${id(picture)}`, { method: 'DELETE' }),
  upscale: (picture: string, scale: number, upscaler: string) =>
    send<{ job: Job } | Job>('POST', `/api/pictures/${id(picture)}/upscale`, { scale, upscaler }).then(jobOf),
}

function jobOf(answer: { job: Job } | Job): Job {
  return 'job' in answer ? answer.job : answer
}
