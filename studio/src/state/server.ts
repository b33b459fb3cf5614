import { QueryClient, useInfiniteQuery, useQueries, useQuery, type InfiniteData } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { create } from 'zustand'

import { api, Problem, type PictureQuery } from '../api/client'
import { follow } from '../api/events'
import type { Defaults, Job, Model, Picture, PicturePage, PictureRequest } from '../api/types'
import { useDraft } from './draft'

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 30_000,
      retry: (count, error) => error instanceof Problem && error.away && count < 3,
      refetchOnWindowFocus: false,
    },
  },
})

interface Live {
  jobs: Record<string, Job>
  /** Whether the server answers. */
  connection: 'opening' | 'open' | 'away'
}

/** What the server says is going on, kept up by its events. */
export const useLive = create<Live>(() => ({ jobs: {}, connection: 'opening' }))

function put(...jobs: Job[]): void {
  useLive.setState(({ jobs: known }) => ({ jobs: { ...known, ...Object.fromEntries(jobs.map((job) => [job.id, job])) } }))
}

const RANK = { queued: 0, running: 1, done: 2, failed: 2, cancelled: 2 }

/** Takes note of a job as the answer to a request has it; the events may have been quicker, and know it better. */
export function learn(...jobs: Job[]): void {
  const known = useLive.getState().jobs
  put(...jobs.filter((job) => RANK[job.state] >= RANK[known[job.id]?.state ?? 'queued']))
}

/** Fetches the latest jobs, but for those of which an event comes in the meantime. */
async function catchUp(heard: Set<string>): Promise<void> {
  heard.clear()
  const jobs = await api.jobs().catch(() => [])
  put(...jobs.filter((job) => !heard.has(job.id)))
}

/** Follows the server for as long as the page is open. */
export function useServer(): void {
  useEffect(() => {
    const heard = new Set<string>()
    return follow({
      job: (job) => {
        heard.add(job.id)
        put(job)
      },
      picture: (picture) => {
        queries.setQueryData(['picture', picture.id], picture)
        void queries.invalidateQueries({ queryKey: ['pictures'] })
      },
      removed: () => void queries.invalidateQueries({ queryKey: ['pictures'] }),
      open: () => {
        const before = useLive.getState().connection
        useLive.setState({ connection: 'open' })
        void catchUp(heard)
        if (before === 'away') void queries.invalidateQueries()
      },
      away: () => useLive.setState({ connection: 'away' }),
    })
  }, [])
}

/** Jobs that are not over, in the order in which the server will take them. */
export function pending(jobs: Record<string, Job>): Job[] {
  const order = (job: Job) => (job.state === 'running' ? -1 : (job.position ?? 0))
  return Object.values(jobs)
    .filter((job) => job.state === 'queued' || job.state === 'running')
    .sort((a, b) => order(a) - order(b))
}

/** Jobs that are over, latest first. */
export function over(jobs: Record<string, Job>): Job[] {
  return Object.values(jobs)
    .filter((job) => job.state !== 'queued' && job.state !== 'running')
    .sort((a, b) => time(b.finished ?? b.created) - time(a.finished ?? a.created))
}

/** What a job asks for; a grid holds it one level down. */
export function asked(job: Job): Partial<PictureRequest> {
  return 'axes' in job.request ? (job.request.request as PictureRequest) : job.request
}

/** Milliseconds, of a date as text or of seconds since 1970. */
export function time(value: string | number): number {
  return typeof value === 'number' ? value * 1000 : Date.parse(value)
}

export const useCapabilities = () => useQuery({ queryKey: ['capabilities'], queryFn: api.capabilities, staleTime: Infinity })
export const useModels = () => useQuery({ queryKey: ['models'], queryFn: api.models })
export const useAdapters = () => useQuery({ queryKey: ['adapters'], queryFn: api.adapters })
export const useOrigin = (model: string | undefined) =>
  useQuery({ queryKey: ['origin', model], queryFn: () => api.origin(model!), enabled: !!model, staleTime: Infinity })
export const usePicture = (id: string | null) =>
  useQuery({ queryKey: ['picture', id], queryFn: () => api.picture(id!), enabled: !!id })

/** Those of these pictures that are here already. */
export function usePicturesOf(ids: string[]): Picture[] {
  const found = useQueries({ queries: ids.map((id) => ({ queryKey: ['picture', id], queryFn: () => api.picture(id) })) })
  return found.flatMap(({ data }) => data ?? [])
}

const PAGE = 60

export function usePictures(filter: PictureQuery) {
  return useInfiniteQuery({
    queryKey: ['pictures', filter],
    queryFn: ({ pageParam }) => api.pictures({ ...filter, before: pageParam, limit: PAGE }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next,
    placeholderData: (before) => before,
  })
}

export function allPictures(data: InfiniteData<PicturePage> | undefined): Picture[] {
  return data?.pages.flatMap((page) => page.pictures) ?? []
}

/** The model that the draft names, or the first there is. */
export function useModel(): Model | undefined {
  const { data } = useModels()
  const chosen = useDraft((draft) => draft.model)
  return data?.find((model) => model.id === chosen) ?? data?.[0]
}

const FALLBACK: Defaults = { sampler: 'euler', schedule: 'karras', steps: 20, guidance: 7, width: 512, height: 512, multiple: 8 }

export function useDefaults(): Defaults {
  const model = useModel()
  const { data } = useCapabilities()
  const own = model && data?.defaults[model.id]
  return { ...FALLBACK, ...(model?.resolution ? { width: model.resolution, height: model.resolution } : {}), ...own }
}

/** `value`, once it has not changed for `milliseconds`. */
export function useSettled<T>(value: T, milliseconds: number): T {
  const [settled, settle] = useState(value)
  useEffect(() => {
    const timer = window.setTimeout(() => settle(value), milliseconds)
    return () => window.clearTimeout(timer)
  }, [value, milliseconds])
  return settled
}
