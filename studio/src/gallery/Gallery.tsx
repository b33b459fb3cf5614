import { Star } from 'lucide-react'
import { useEffect, useRef, useState, type KeyboardEvent } from 'react'
import { Button, Input, SearchField, ToggleButton } from 'react-aria-components'

import { Choice } from '../controls'
import { allPictures, useModels, usePictures, useSettled } from '../state/server'
import { goTo } from '../state/view'
import { Tile } from './Tile'

/** Moves the focus as the arrows say, over tiles in rows of whatever length the width gives. */
function arrows(event: KeyboardEvent<HTMLElement>): void {
  const tiles = [...event.currentTarget.querySelectorAll<HTMLElement>('.tile')]
  const at = tiles.indexOf(document.activeElement as HTMLElement)
  const first = tiles[0]
  if (at < 0 || !first) return
  const columns = tiles.filter((tile) => tile.offsetTop === first.offsetTop).length
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: tiles.length - 1 - at }[event.key]
  if (step === undefined) return
  event.preventDefault()
  tiles[Math.min(Math.max(at + step, 0), tiles.length - 1)]?.focus()
}

/** Calls `more` when the end of the list comes into sight. */
function End({ more, busy }: { more: () => void; busy: boolean }) {
  const end = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => entry?.isIntersecting && more(), { rootMargin: '600px' })
    observer.observe(end.current!)
    return () => observer.disconnect()
  }, [more])
  return (
    <div ref={end} className="row">
      <Button className="plain" isPending={busy} onPress={more}>Show older pictures</Button>
    </div>
  )
}

/** What is said where no picture hangs. */
function Bare({ filtered }: { filtered: boolean }) {
  if (filtered) {
    return (
      <div className="message">
        <h2>No picture fits.</h2>
        <p>Search for fewer words, or take the star or the model away.</p>
      </div>
    )
  }
  return (
    <div className="message">
      <h2>The walls are still bare.</h2>
      <p>Every picture that you make hangs here, with its recipe.</p>
      <Button className="plain" onPress={() => goTo('make')}>Make the first one</Button>
    </div>
  )
}

export function Gallery() {
  const [search, setSearch] = useState('')
  const [starred, setStarred] = useState(false)
  const [model, setModel] = useState('')
  const { data: models = [] } = useModels()
  const asked = useSettled(search, 250)
  const { data, hasNextPage, isFetchingNextPage, fetchNextPage, isPending } = usePictures({ search: asked, starred, model })
  const pictures = allPictures(data)
  return (
    <section className="gallery" aria-label="Gallery">
      <header>
        <h1>Gallery</h1>
        <SearchField className="search" aria-label="Search in prompts" value={search} onChange={setSearch}>
          <Input placeholder="Search in prompts" />
        </SearchField>
        {models.length > 1 && (
          <Choice label="Model" hideLabel value={model} options={[{ id: '', label: 'All models' }, ...models.map(({ id, name }) => ({ id, label: name }))]} onChange={setModel} />
        )}
        <ToggleButton className="plain" isSelected={starred} onChange={setStarred}>
          <Star aria-hidden /> Starred
        </ToggleButton>
      </header>
      {pictures.length === 0 && !isPending ? (
        <Bare filtered={!!asked || starred || !!model} />
      ) : (
        <ul className="wall" onKeyDown={arrows}>
          {pictures.map((picture) => (
            <li key={picture.id}>
              <Tile picture={picture} />
            </li>
          ))}
        </ul>
      )}
      {hasNextPage && <End more={() => void fetchNextPage()} busy={isFetchingNextPage} />}
    </section>
  )
}
