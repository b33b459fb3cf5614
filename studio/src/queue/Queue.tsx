import { GripVertical, RotateCcw, X } from 'lucide-react'
import { Button, Dialog, GridList, GridListItem, Heading, Modal, ModalOverlay, useDragAndDrop } from 'react-aria-components'

import { api } from '../api/client'
import type { Job } from '../api/types'
import { IconButton } from '../controls'
import { complain } from '../controls/notices'
import { Progress } from '../stage/Progress'
import { cancel, retry, wrong } from '../stage/Stage'
import { asked, learn, over, pending, useLive } from '../state/server'
import { goTo, setView, useView } from '../state/view'
import { many } from '../words'

const SHOWN = 20

function title(job: Job): string {
  return asked(job).prompt || { upscale: 'Enlarging a picture' }[job.kind] || 'Untitled'
}

function look(job: Job): void {
  setView({ job: job.id, stage: 'result', queueOpen: false })
  goTo('make')
}

/** Takes `moved` out of the waiting jobs and puts it before `before`, or last. */
function move(waiting: Job[], moved: string, before: string | null): void {
  const order = waiting.filter((job) => job.id !== moved)
  const at = before ? order.findIndex((job) => job.id === before) : order.length
  order.splice(at, 0, waiting.find((job) => job.id === moved)!)
  learn(...order.map((job, k) => ({ ...job, position: k + 1 })))
  api.move(moved, before).catch((error: unknown) => {
    learn(...waiting)
    complain(error)
  })
}

function Waiting({ jobs }: { jobs: Job[] }) {
  const { dragAndDropHooks } = useDragAndDrop({
    getItems: (keys) => [...keys].map((key) => ({ 'text/plain': String(key) })),
    onReorder({ keys, target }) {
      const at = jobs.findIndex((job) => job.id === target.key) + (target.dropPosition === 'after' ? 1 : 0)
      const moved = String([...keys][0])
      move(jobs, moved, jobs.slice(at).find((job) => job.id !== moved)?.id ?? null)
    },
  })
  if (!jobs.length) return null
  return (
    <>
      <h3>Waiting</h3>
      <GridList className="joblist" aria-label="Waiting jobs, in order" items={jobs} dragAndDropHooks={dragAndDropHooks} onAction={(id) => look(jobs.find((job) => job.id === id)!)}>
        {(job) => (
          <GridListItem id={job.id} textValue={title(job)}>
            <Button slot="drag" className="icon" aria-label="Move in the queue">
              <GripVertical aria-hidden />
            </Button>
            <span className="title">{title(job)}</span>
            <IconButton label="Cancel" onPress={() => cancel(job)}><X aria-hidden /></IconButton>
          </GridListItem>
        )}
      </GridList>
    </>
  )
}

function Running({ jobs }: { jobs: Job[] }) {
  return (
    <ul className="joblist">
      {jobs.map((job) => (
        <li key={job.id} className="running">
          <button type="button" className="bare title" onClick={() => look(job)}>{title(job)}</button>
          <IconButton label="Cancel" onPress={() => cancel(job)}><X aria-hidden /></IconButton>
          <Progress job={job} />
        </li>
      ))}
    </ul>
  )
}

function Over({ jobs }: { jobs: Job[] }) {
  if (!jobs.length) return null
  return (
    <>
      <h3>Over</h3>
      <ul className="joblist">
        {jobs.slice(0, SHOWN).map((job) => (
          <li key={job.id} className={job.state}>
            <button type="button" className="bare title" onClick={() => look(job)}>{title(job)}</button>
            <span className="state">{job.state === 'done' ? many(job.pictures.length, 'picture') : job.state}</span>
            {job.state !== 'done' && <IconButton label="Try again" onPress={() => retry(job)}><RotateCcw aria-hidden /></IconButton>}
            {job.state === 'failed' && <p className="hint">{wrong(job)}</p>}
          </li>
        ))}
      </ul>
    </>
  )
}

/** What is being made, what waits, and what is over. */
export function Queue() {
  const open = useView((view) => view.queueOpen)
  const jobs = useLive((live) => live.jobs)
  const ahead = pending(jobs)
  const running = ahead.filter((job) => job.state === 'running')
  return (
    <ModalOverlay className="veil side" isOpen={open} onOpenChange={(next) => setView({ queueOpen: next })} isDismissable>
      <Modal className="drawer">
        <Dialog>
          <header>
            <Heading slot="title">Queue</Heading>
            <IconButton label="Close" keys="Esc" onPress={() => setView({ queueOpen: false })}><X aria-hidden /></IconButton>
          </header>
          {!ahead.length && <p className="hint">Nothing is being made right now.</p>}
          <Running jobs={running} />
          <Waiting jobs={ahead.filter((job) => job.state === 'queued')} />
          <Over jobs={over(jobs)} />
        </Dialog>
      </Modal>
    </ModalOverlay>
  )
}
