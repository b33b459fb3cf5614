import { create } from 'zustand'
import { persist } from 'zustand/middleware'

export type Page = 'make' | 'gallery'
export type Theme = 'system' | 'light' | 'dark'

interface Place {
  page: Page
  /** The picture that is held up before the page, if any. */
  picture: string | null
}

/** Where the person is, as the address says, so that the browser's own back button works. */
export const usePlace = create<Place>(() => read())

function read(): Place {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?')
  return { page: path === 'gallery' ? 'gallery' : 'make', picture: new URLSearchParams(query).get('picture') }
}

window.addEventListener('hashchange', () => usePlace.setState(read()))

function address({ page, picture }: Place): string {
  const query = picture ? `?picture=${encodeURIComponent(picture)}` : ''
  return `#/${page === 'gallery' ? 'gallery' : ''}${query}`
}

export function goTo(page: Page): void {
  location.hash = address({ page, picture: null })
}

/** Holds a picture up, or puts it down; looking at the next one is no new step of the browser's history. */
export function show(picture: string | null): void {
  const next = { ...usePlace.getState(), picture }
  if (picture && usePlace.getState().picture) {
    history.replaceState(null, '', address(next))
    usePlace.setState(next)
  } else {
    location.hash = address(next)
  }
}

interface View {
  full: boolean
  theme: Theme
  /** What the stage shows: a job that was sent from here, or nothing yet. */
  job: string | null
  stage: 'result' | 'canvas'
  queueOpen: boolean
  keysOpen: boolean
}

/** How the page looks to this person; kept on this computer. */
export const useView = create<View>()(
  persist((): View => ({ full: false, theme: 'system', job: null, stage: 'result', queueOpen: false, keysOpen: false }), {
    name: 'impasto.view',
    partialize: ({ full, theme, job, stage }) => ({ full, theme, job, stage }),
  }),
)

export function setView(change: Partial<View>): void {
  useView.setState(change)
}

export function applyTheme(theme: Theme): void {
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}

/** On a narrow page the stage lies below the controls: goes there, once it has been drawn. */
export function toStage(): void {
  if (!window.matchMedia('(max-width: 1000px)').matches) return
  requestAnimationFrame(() => document.querySelector('.stage')?.scrollIntoView({ block: 'start' }))
}
