import { useEffect } from 'react'

import { Composer, useMake } from '../compose/Composer'
import { Notices } from '../controls/notices'
import { Gallery } from '../gallery/Gallery'
import { Viewer } from '../gallery/Viewer'
import { Queue } from '../queue/Queue'
import { cancel, Stage } from '../stage/Stage'
import { pending, useLive, useServer } from '../state/server'
import { setView, usePlace } from '../state/view'
import { Away } from './Away'
import { Drop } from './Drop'
import { Header } from './Header'
import { Keys } from './Keys'
import { Login } from './Login'

/** Keys that work everywhere; those of the canvas and of the viewer are theirs. */
function useShortcuts(): void {
  const { send } = useMake()
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement
      const inDialog = !!target.closest('[role=dialog], [role=alertdialog], [role=listbox], [role=menu]')
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !inDialog) {
        event.preventDefault()
        void send()
      } else if (event.key === 'Escape' && !inDialog && !event.defaultPrevented) {
        const running = pending(useLive.getState().jobs)[0]
        if (running) cancel(running)
      } else if (event.key === '?' && !target.closest('input, textarea') && !inDialog) {
        setView({ keysOpen: true })
      } else if (event.key === '/' && !target.closest('input, textarea') && !inDialog) {
        event.preventDefault()
        document.getElementById('prompt')?.focus()
      }
    }
    window.addEventListener('keydown', press)
    return () => window.removeEventListener('keydown', press)
  })
}

export function App() {
  useServer()
  useShortcuts()
  const page = usePlace((place) => place.page)
  return (
    <Drop>
      <a className="skip" href="#prompt" onClick={(event) => { event.preventDefault(); document.getElementById('prompt')?.focus() }}>To the prompt</a>
      <Header />
      <Away />
      <main className={`page-${page}`}>
        {page === 'make' ? (
          <>
            <Composer />
            <Stage />
          </>
        ) : (
          <Gallery />
        )}
      </main>
      <Viewer />
      <Queue />
      <Keys />
      <Login />
      <Notices />
    </Drop>
  )
}
