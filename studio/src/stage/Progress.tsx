import { ProgressBar } from 'react-aria-components'

import type { Job } from '../api/types'
import { left, many } from '../words'

/** What a job is doing, in words. */
export function doing(job: Job): string {
  if (job.state === 'queued') return job.position ? `${many(job.position, 'job')} before it` : 'Next in line'
  if (job.state === 'running') return job.step ? `Step ${job.step} of ${job.steps}` : 'Getting ready'
  return { done: 'Done', failed: 'Failed', cancelled: 'Cancelled' }[job.state]
}

/** A stroke of paint that is laid on as the job gets on. */
export function Progress({ job }: { job: Job }) {
  return (
    <ProgressBar className="progress" aria-label="Progress" value={job.progress * 100} valueLabel={`${doing(job)}, ${left(job.eta_seconds)}`}>
      <div className="stroke" aria-hidden>
        <div className="laid" style={{ width: `${Math.max(job.progress * 100, job.state === 'running' ? 2 : 0)}%` }} />
      </div>
      <p className="progress-words">
        <span>{doing(job)}</span>
        <span>{left(job.eta_seconds)}</span>
      </p>
    </ProgressBar>
  )
}
