import { Images, Keyboard, ListOrdered, Moon, Palette, Sun, SunMoon } from 'lucide-react'
import { Button } from 'react-aria-components'

import { IconButton } from '../controls'
import { pending, useLive } from '../state/server'
import { applyTheme, goTo, setView, usePlace, useView, type Theme } from '../state/view'

const NEXT: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' }
const LIGHTS = { system: { Icon: SunMoon, label: 'Light: as the system' }, light: { Icon: Sun, label: 'Light: day' }, dark: { Icon: Moon, label: 'Light: night' } }

function Light() {
  const theme = useView((view) => view.theme)
  const { Icon, label } = LIGHTS[theme]
  function change() {
    setView({ theme: NEXT[theme] })
    applyTheme(NEXT[theme])
  }
  return (
    <IconButton label={label} onPress={change}>
      <Icon aria-hidden />
    </IconButton>
  )
}

export function Header() {
  const page = usePlace((place) => place.page)
  const waiting = useLive((live) => pending(live.jobs).length)
  const at = (name: string) => (page === name ? 'page' : undefined)
  return (
    <header className="shell">
      <a className="wordmark" href="#/" onClick={() => goTo('make')}>
        Impasto
      </a>
      <nav aria-label="Pages">
        <a href="#/" aria-current={at('make')}>
          <Palette aria-hidden /> Make
        </a>
        <a href="#/gallery" aria-current={at('gallery')}>
          <Images aria-hidden /> Gallery
        </a>
        <Button className="navlike" onPress={() => setView({ queueOpen: true })}>
          <ListOrdered aria-hidden /> Queue {waiting > 0 && <span className="count" aria-label={`${waiting} under way`}>{waiting}</span>}
        </Button>
      </nav>
      <div className="shell-icons">
        <IconButton label="Keys" keys="?" onPress={() => setView({ keysOpen: true })}>
          <Keyboard aria-hidden />
        </IconButton>
        <Light />
      </div>
    </header>
  )
}
