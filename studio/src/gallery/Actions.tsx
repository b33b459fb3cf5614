import { Brush, Download, Repeat, Shuffle, Sprout, Star, Trash2, ZoomIn } from 'lucide-react'
import { useEffect, useState } from 'react'
import { Button, Dialog, DialogTrigger, Heading, Modal, ModalOverlay, Popover, ToggleButton } from 'react-aria-components'

import { api } from '../api/client'
import type { Picture } from '../api/types'
import { Choice, IconButton } from '../controls'
import { complain } from '../controls/notices'
import { learn, useCapabilities } from '../state/server'
import { goTo, setView, show, toStage } from '../state/view'
import { remove, sameSeed, sendToEdit, star, useAgain, vary } from './use'

/** What upscalers are called, in words; what they enlarge is then painted over. */
const UPSCALERS: Record<string, string> = {
  lanczos: 'Its pixels (Lanczos)',
  latent: 'Its latents',
  'latent-nearest': 'Its latents (nearest)',
  'latent-bicubic': 'Its latents (bicubic)',
}

function Upscale({ picture }: { picture: Picture }) {
  const { data } = useCapabilities()
  const upscalers = (data?.upscalers ?? []).map((known) => (typeof known === 'string' ? known : known.name))
  const [upscaler, setUpscaler] = useState<string>()
  const chosen = upscaler ?? upscalers[0]
  function send(scale: number) {
    api.upscale(picture.id, scale, chosen!).then((job) => {
      learn(job)
      show(null)
      goTo('make')
      setView({ job: job.id, stage: 'result' })
      toStage()
    }, complain)
  }
  if (!chosen) return null
  return (
    <DialogTrigger>
      <IconButton label="Enlarge"><ZoomIn aria-hidden /></IconButton>
      <Popover className="popover">
        <Dialog className="enlarge" aria-label="Enlarge">
          <Choice label="Enlarge" value={chosen} options={upscalers.map((name) => ({ id: name, label: UPSCALERS[name] ?? name }))} onChange={setUpscaler} />
          <div className="row">
            {[2, 4].map((scale) => (
              <Button key={scale} className="plain" onPress={() => send(scale)}>
                {`${picture.width * scale} × ${picture.height * scale}`}
              </Button>
            ))}
          </div>
        </Dialog>
      </Popover>
    </DialogTrigger>
  )
}

/** Asks before a picture is deleted, as that cannot be taken back. */
function Delete({ picture, byKey }: { picture: Picture; byKey: boolean }) {
  const [open, setOpen] = useState(false)
  useEffect(() => {
    if (!byKey) return
    const press = (event: KeyboardEvent) => event.key === 'Delete' && !(event.target as HTMLElement).closest('input, textarea') && setOpen(true)
    window.addEventListener('keydown', press)
    return () => window.removeEventListener('keydown', press)
  }, [byKey])
  return (
    <DialogTrigger isOpen={open} onOpenChange={setOpen}>
      <IconButton label="Delete" keys={byKey ? 'Del' : undefined}><Trash2 aria-hidden /></IconButton>
      <ModalOverlay className="veil" isDismissable>
        <Modal className="small-modal">
          <Dialog role="alertdialog">
            {({ close }) => (
              <>
                <Heading slot="title">Delete this picture?</Heading>
                <p>The file and its recipe go for good.</p>
                <div className="row end">
                  <Button className="plain" onPress={close}>Keep it</Button>
                  <Button
                    className="make small"
                    autoFocus
                    onPress={() => {
                      close()
                      void remove(picture)
                    }}
                  >
                    Delete
                  </Button>
                </div>
              </>
            )}
          </Dialog>
        </Modal>
      </ModalOverlay>
    </DialogTrigger>
  )
}

function Again({ picture }: { picture: Picture }) {
  return (
    <>
      <Button className="plain" onPress={() => void useAgain(picture)}>
        <Repeat aria-hidden /> Use again
      </Button>
      <Button className="plain" onPress={() => void sameSeed(picture)}>
        <Sprout aria-hidden /> Same seed
      </Button>
    </>
  )
}

/** What can be done with a picture, by key too where it is the only one; a sheet of several has no recipe of its own. */
export function Actions({ picture, byKey = false }: { picture: Picture; byKey?: boolean }) {
  return (
    <div className="actions" role="group" aria-label="What to do with it">
      {picture.recipe && <Again picture={picture} />}
      <Button className="plain" onPress={() => sendToEdit(picture)}>
        <Brush aria-hidden /> Send to edit
      </Button>
      <span className="icons">
        <ToggleButton className="icon star" aria-label="Star" isSelected={picture.starred} onChange={() => void star(picture)}>
          <Star aria-hidden />
        </ToggleButton>
        {picture.recipe && (
          <IconButton label="Vary it a little" onPress={() => void vary(picture)}>
            <Shuffle aria-hidden />
          </IconButton>
        )}
        {picture.recipe && <Upscale picture={picture} />}
        <a className="icon" href={`${picture.url}?download=1`} download aria-label="Download" title="Download">
          <Download aria-hidden />
        </a>
        <Delete picture={picture} byKey={byKey} />
      </span>
    </div>
  )
}
