import { useEffect, useState, type FormEvent } from 'react'
import { Button, Dialog, Heading, Modal, ModalOverlay } from 'react-aria-components'

import { api, onTokenWanted } from '../api/client'

/** Asks for the server's token, once for as long as the browser's tab is open. */
export function Login() {
  const [wanted, setWanted] = useState(false)
  const [token, setToken] = useState('')
  const [wrong, setWrong] = useState('')
  useEffect(() => onTokenWanted(() => setWanted(true)), [])

  async function enter(event: FormEvent) {
    event.preventDefault()
    try {
      await api.login(token.trim())
      location.reload()
    } catch (error) {
      setWrong((error as Error).message)
    }
  }

  return (
    <ModalOverlay className="veil" isOpen={wanted}>
      <Modal className="small-modal">
        <Dialog>
          <Heading slot="title">This server wants its token</Heading>
          <p>It was shown where <code>impasto serve</code> was started. It stays in this tab only.</p>
          <form onSubmit={(event) => void enter(event)}>
            <label className="field">
              <span className="label">Token</span>
              <input type="password" autoComplete="off" value={token} autoFocus onChange={(event) => setToken(event.target.value)} aria-invalid={!!wrong} />
            </label>
            {wrong && <p className="error" role="alert">{wrong}</p>}
            <div className="row end">
              <Button type="submit" className="make small" isDisabled={!token.trim()}>Enter</Button>
            </div>
          </form>
        </Dialog>
      </Modal>
    </ModalOverlay>
  )
}
