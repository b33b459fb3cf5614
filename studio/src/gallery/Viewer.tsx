import { ArrowLeft, ArrowRight, X } from 'lucide-react'
import { useEffect } from 'react'
import { Dialog, Heading, Modal, ModalOverlay } from 'react-aria-components'

import { IconButton } from '../controls'
import { Hung } from '../stage/Hung'
import { allPictures, time, usePicture, usePictures } from '../state/server'
import { show, usePlace } from '../state/view'
import { when } from '../words'
import { Actions } from './Actions'
import { Origin } from './Origin'
import { Recipe } from './Recipe'
import { star } from './use'

/** The pictures on either side, among the latest. */
function useNeighbours(id: string | null): { before: string | undefined; after: string | undefined } {
  const { data } = usePictures({})
  const ids = allPictures(data).map((picture) => picture.id)
  const at = id ? ids.indexOf(id) : -1
  return at < 0 ? { before: undefined, after: undefined } : { before: ids[at - 1], after: ids[at + 1] }
}

/** One picture held up, with the label that hangs beside it. */
export function Viewer() {
  const id = usePlace((place) => place.picture)
  const { data: picture, error } = usePicture(id)
  const { before, after } = useNeighbours(id)

  useEffect(() => {
    if (!id) return
    const press = (event: KeyboardEvent) => {
      if ((event.target as HTMLElement).closest('input, textarea, [role=alertdialog], [role=listbox]')) return
      if (event.key === 'ArrowLeft' && before) show(before)
      if (event.key === 'ArrowRight' && after) show(after)
      if (event.key === 's' && picture) void star(picture)
    }
    window.addEventListener('keydown', press)
    return () => window.removeEventListener('keydown', press)
  }, [id, before, after, picture])

  return (
    <ModalOverlay className="viewer-veil" isOpen={id !== null} onOpenChange={(open) => open || show(null)} isDismissable>
      <Modal className="viewer">
        <Dialog className="viewer-inside">
          <div className="hang">
            {picture && <Hung src={picture.url} alt={picture.prompt} width={picture.width} height={picture.height} />}
            <IconButton className="turn back" label="The newer one" keys="←" isDisabled={!before} onPress={() => before && show(before)}><ArrowLeft aria-hidden /></IconButton>
            <IconButton className="turn on" label="The older one" keys="→" isDisabled={!after} onPress={() => after && show(after)}><ArrowRight aria-hidden /></IconButton>
          </div>
          <div className="label-card">
            <IconButton className="close" label="Close" keys="Esc" onPress={() => show(null)}><X aria-hidden /></IconButton>
            {picture ? (
              <>
                <Heading slot="title">{picture.prompt || 'Untitled'}</Heading>
                <p className="date">{when(time(picture.created))}</p>
                <Actions picture={picture} byKey />
                <Recipe picture={picture} />
                <Origin picture={picture} />
              </>
            ) : (
              <Heading slot="title">{error ? error.message : 'Looking for it'}</Heading>
            )}
          </div>
        </Dialog>
      </Modal>
    </ModalOverlay>
  )
}
