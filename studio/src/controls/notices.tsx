import { X } from 'lucide-react'
import {
  Button,
  Text,
  UNSTABLE_ToastQueue as ToastQueue,
  UNSTABLE_Toast as Toast,
  UNSTABLE_ToastContent as ToastContent,
  UNSTABLE_ToastRegion as ToastRegion,
} from 'react-aria-components'

import { Problem } from '../api/client'

interface Notice {
  kind: 'said' | 'wrong'
  title: string
  more?: string
  act?: { label: string; do: () => void }
}

const notices = new ToastQueue<Notice>({ maxVisibleToasts: 3 })

/** Tells the person something that needs no answer. */
export function say(title: string, more?: string, act?: Notice['act']): void {
  notices.add({ kind: 'said', title, more, act }, { timeout: 6_000 })
}

/** Tells the person what went wrong, until it is put away. */
export function complain(error: unknown, title = 'That did not work'): void {
  if (error instanceof Problem && error.status === 401) return
  notices.add({ kind: 'wrong', title, more: error instanceof Error ? error.message : String(error) }, { timeout: 20_000 })
}

export function Notices() {
  return (
    <ToastRegion queue={notices} className="notices" aria-label="Notices">
      {({ toast }) => (
        <Toast toast={toast} className={`notice ${toast.content.kind}`}>
          <ToastContent className="notice-words">
            <Text slot="title">{toast.content.title}</Text>
            {toast.content.more && <Text slot="description">{toast.content.more}</Text>}
            {toast.content.act && (
              <Button
                className="quiet"
                onPress={() => {
                  toast.content.act!.do()
                  notices.close(toast.key)
                }}
              >
                {toast.content.act.label}
              </Button>
            )}
          </ToastContent>
          <Button slot="close" className="icon" aria-label="Put away">
            <X aria-hidden />
          </Button>
        </Toast>
      )}
    </ToastRegion>
  )
}
