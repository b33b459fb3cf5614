import { useEffect, type CSSProperties } from 'react'
import { Button, Tab, TabList, TabPanel, Tabs } from 'react-aria-components'

import { api } from '../api/client'
import type { Job } from '../api/types'
import { useMake } from '../compose/Composer'
import { complain } from '../controls/notices'
import { Canvas } from '../edit/Canvas'
import { Actions } from '../gallery/Actions'
import { summary } from '../gallery/Recipe'
import { Tile } from '../gallery/Tile'
import { edit, useDraft } from '../state/draft'
import { allPictures, asked, learn, pending, useDefaults, useLive, useModel, usePicture, usePictures, usePicturesOf } from '../state/server'
import { setView, show, useView } from '../state/view'
import { Hung } from './Hung'
import { Progress } from './Progress'

export function cancel(job: Job): void {
  api.cancel(job.id).then(learn, complain)
}

export function retry(job: Job): void {
  api.retry(job.id).then((again) => {
    learn(again)
    setView({ job: again.id, stage: 'result' })
  }, complain)
}

export function wrong(job: Job): string {
  const { error } = job
  return typeof error === 'string' ? error : (error?.message ?? 'The server gave no reason.')
}

/** The one picture of a job, large, with its label under it. */
function Single({ id }: { id: string }) {
  const { data: picture, error } = usePicture(id)
  if (error) return <p className="hint">{error.message}</p>
  if (!picture) return <div className="work empty" />
  return (
    <figure className="work">
      <button type="button" className="bare" onClick={() => show(picture.id)} aria-label="Look at it closely">
        <Hung src={picture.url} alt={picture.prompt} width={picture.width} height={picture.height} />
      </button>
      <figcaption>
        <p className="title">{picture.prompt || 'Untitled'}</p>
        <p className="hint">{summary(picture)}</p>
        <Actions picture={picture} />
      </figcaption>
    </figure>
  )
}

/** The pictures of a job side by side, on as many columns as make them largest; a grid's sheet before them. */
function Several({ job }: { job: Job }) {
  const pictures = usePicturesOf(job.pictures)
  const sheets = pictures.filter(({ kind }) => kind === 'sheet')
  const single = pictures.filter(({ kind }) => kind !== 'sheet')
  const columns = Math.ceil(Math.sqrt(job.pictures.length - sheets.length))
  const rows = Math.ceil((job.pictures.length - sheets.length) / columns)
  return (
    <figure className="work">
      {sheets.map((sheet) => (
        <div key={sheet.id} className="sheet-of">
          <Tile picture={sheet} full />
        </div>
      ))}
      <ul className="works" style={{ '--columns': columns, '--rows': rows } as CSSProperties}>
        {single.map((picture) => (
          <li key={picture.id}>
            <Tile picture={picture} full />
          </li>
        ))}
      </ul>
      <figcaption>
        <p className="title">{asked(job).prompt || 'Untitled'}</p>
        <p className="hint">Open one for its recipe, and for whose work it was made from.</p>
      </figcaption>
    </figure>
  )
}

function Underway({ job }: { job: Job }) {
  const defaults = useDefaults()
  const { width = defaults.width, height = defaults.height, prompt } = asked(job)
  return (
    <figure className="work underway">
      <Hung src={job.preview} alt="How far it is" width={width} height={height} />
      <figcaption>
        <p className="title">{prompt}</p>
        <Progress job={job} />
        <Button className="plain" onPress={() => cancel(job)}>
          Cancel <kbd>Esc</kbd>
        </Button>
      </figcaption>
    </figure>
  )
}

function Outcome({ job }: { job: Job }) {
  if (job.state === 'queued' || job.state === 'running') return <Underway job={job} />
  if (job.state === 'failed') {
    return (
      <div className="message" role="alert">
        <h2>This one failed</h2>
        <p>{wrong(job)}</p>
        <Button className="plain" onPress={() => retry(job)}>Try again</Button>
      </div>
    )
  }
  if (job.pictures.length === 1) return <Single id={job.pictures[0]!} />
  if (job.pictures.length > 1) return <Several job={job} />
  return (
    <div className="message">
      <h2>Cancelled</h2>
      <p>Nothing was painted. Your words are still there.</p>
      <Button className="plain" onPress={() => retry(job)}>Make it after all</Button>
    </div>
  )
}

/** What somebody sees who has made nothing yet. */
function Welcome() {
  const model = useModel()
  const { send } = useMake()
  const examples = model?.examples?.slice(0, 4) ?? []
  return (
    <div className="message welcome">
      <h2>Say what you would like to see.</h2>
      <p>Write it under “What to paint” and press Make. Or drop a picture that was made with Impasto, A1111 or ComfyUI anywhere on this page to get its recipe back.</p>
      {examples.length > 0 && (
        <div className="chips">
          {examples.map((example) => (
            <Button
              key={example}
              className="chip"
              onPress={() => {
                edit({ prompt: example })
                void send()
              }}
            >
              {example}
            </Button>
          ))}
        </div>
      )}
    </div>
  )
}

function Result() {
  const chosen = useView((view) => view.job)
  const jobs = useLive((live) => live.jobs)
  const { data } = usePictures({})
  const latest = allPictures(data)[0]
  const job = chosen ? jobs[chosen] : pending(jobs)[0]
  if (job) return <Outcome job={job} />
  if (latest) return <Single id={latest.id} />
  return <Welcome />
}

/** The latest pictures, to go back to. */
function Recent() {
  const { data } = usePictures({})
  const pictures = allPictures(data).slice(0, 24)
  if (pictures.length < 2) return null
  return (
    <section className="recent" aria-label="Latest pictures">
      <ul>
        {pictures.map((picture) => (
          <li key={picture.id}>
            <Tile picture={picture} />
          </li>
        ))}
      </ul>
    </section>
  )
}

export function Stage() {
  const start = useDraft((draft) => draft.start)
  const stage = useView((view) => view.stage)
  useEffect(() => {
    if (!start && stage === 'canvas') setView({ stage: 'result' })
  }, [start, stage])
  return (
    <section className="stage" aria-label="The picture">
      {start ? (
        <Tabs className="stage-tabs" selectedKey={stage} onSelectionChange={(key) => setView({ stage: key as 'result' | 'canvas' })}>
          <TabList aria-label="What to look at">
            <Tab id="canvas">Canvas</Tab>
            <Tab id="result">Result</Tab>
          </TabList>
          <TabPanel id="canvas"><Canvas start={start} /></TabPanel>
          <TabPanel id="result" className="easel"><Result /></TabPanel>
        </Tabs>
      ) : (
        <div className="easel"><Result /></div>
      )}
      <Recent />
    </section>
  )
}
