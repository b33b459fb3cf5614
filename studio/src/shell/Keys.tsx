import { X } from 'lucide-react'
import { Dialog, Heading, Modal, ModalOverlay } from 'react-aria-components'

import { IconButton } from '../controls'
import { setView, useView } from '../state/view'

const KEYS: [string, [string, string][]][] = [
  ['Everywhere', [['Ctrl Enter', 'Make'], ['Esc', 'Cancel what is being made, or close'], ['/', 'To the prompt'], ['?', 'These keys']]],
  ['In the prompt', [['Ctrl ↑', 'More weight for the word or selection'], ['Ctrl ↓', 'Less weight']]],
  ['Gallery and pictures', [['← → ↑ ↓', 'From picture to picture'], ['Enter', 'Look closely'], ['S', 'Star'], ['Del', 'Delete']]],
  ['On the canvas', [['B', 'Brush'], ['E', 'Eraser'], ['R', 'Box'], ['H', 'Move'], ['[ ]', 'Smaller, larger brush'], ['Ctrl Z', 'Undo'], ['Ctrl Shift Z', 'Redo'], ['+ −', 'Zoom'], ['0', 'Fit']]],
]

export function Keys() {
  const open = useView((view) => view.keysOpen)
  return (
    <ModalOverlay className="veil" isOpen={open} onOpenChange={(next) => setView({ keysOpen: next })} isDismissable>
      <Modal className="small-modal wide">
        <Dialog>
          <header>
            <Heading slot="title">Keys</Heading>
            <IconButton label="Close" keys="Esc" onPress={() => setView({ keysOpen: false })}><X aria-hidden /></IconButton>
          </header>
          <div className="keys">
            {KEYS.map(([where, keys]) => (
              <section key={where}>
                <h3>{where}</h3>
                <dl>
                  {keys.map(([key, what]) => (
                    <div key={key}>
                      <dt>{key.split(' ').map((part) => <kbd key={part}>{part}</kbd>)}</dt>
                      <dd>{what}</dd>
                    </div>
                  ))}
                </dl>
              </section>
            ))}
          </div>
          <p className="hint">
            Impasto is free software, Apache-2.0. This page is built with <a href="/licences.txt">the work of others</a>.
          </p>
        </Dialog>
      </Modal>
    </ModalOverlay>
  )
}
