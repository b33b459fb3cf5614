import { ExternalLink } from 'lucide-react'
import { useState } from 'react'
import { Button } from 'react-aria-components'

import type { Adapter, CorpusOrigin, MakerCredit, Model, Origin as Told, Picture } from '../api/types'
import { useAdapters, useModels, useOrigin } from '../state/server'
import { many, shortDigest } from '../words'

const FIRST_MAKERS = 8

/** By which right works are used, in words. */
const BASES: Record<string, string> = {
  owner: 'by their owner',
  grant: 'with their makers’ leave',
  licence: 'under the licence that their makers chose',
  'public-domain': 'as the public domain',
  unreserved: 'as nobody reserved them',
  synthetic: 'as the work of a model',
  unknown: 'by what right is not known',
}

function bases(consents: Record<string, number>[]): string[] {
  return [...new Set(consents.flatMap((consent) => Object.keys(consent)))]
}

/** Shares of the licences as one bar, with their names and counts under it. */
function Licences({ corpus }: { corpus: CorpusOrigin }) {
  return (
    <div className="licences">
      <div className="shares" aria-hidden>
        {corpus.licences.map(({ licence, rows }, k) => (
          <span key={licence} data-nth={k % 5} style={{ flexGrow: rows }} />
        ))}
      </div>
      <ul>
        {corpus.licences.map(({ licence, rows }, k) => (
          <li key={licence}>
            <span className="dot" data-nth={k % 5} aria-hidden />
            {licence} <small>{rows.toLocaleString('en')}</small>
          </li>
        ))}
      </ul>
    </div>
  )
}

function web(uri: string | null): uri is string {
  return !!uri && /^https?:\/\//.test(uri)
}

/** The right is said of each maker where they differ in it; otherwise the sum above says it of all. */
function Maker({ maker, differ }: { maker: MakerCredit; differ: boolean }) {
  const right = differ ? bases([maker.consent]).map((basis) => BASES[basis] ?? basis) : []
  return (
    <li>
      <span className="maker">
        {web(maker.uri) ? (
          <a href={maker.uri} target="_blank" rel="noreferrer noopener">
            {maker.name} <ExternalLink aria-hidden />
          </a>
        ) : (
          maker.name
        )}
      </span>
      <span className="works-of">{many(maker.rows, 'work')}</span>
      <small>{[Object.keys(maker.collections).join(', '), maker.licences.join(', '), ...right].filter(Boolean).join(' · ')}</small>
    </li>
  )
}

function Makers({ makers }: { makers: MakerCredit[] }) {
  const [all, setAll] = useState(false)
  const differ = bases(makers.map((maker) => maker.consent)).length > 1
  const shown = all ? makers : makers.slice(0, FIRST_MAKERS)
  return (
    <>
      <ul className="makers">
        {shown.map((maker, k) => (
          <Maker key={`${maker.name} ${k}`} maker={maker} differ={differ} />
        ))}
      </ul>
      {makers.length > shown.length && (
        <Button className="quiet" onPress={() => setAll(true)}>Show all makers</Button>
      )}
    </>
  )
}

/** What components are called, in words. */
const PARTS: Record<string, string> = { vae: 'autoencoder', unet: 'UNet', text_encoder: 'text encoder' }

interface Link {
  what: string
  name: string
  digest: string | null
  note?: string
}

function Chain({ links }: { links: Link[] }) {
  return (
    <ol className="chain">
      {links.map(({ what, name, digest, note }) => (
        <li key={`${what} ${name} ${digest}`}>
          <span>{what}</span>
          <b>{name}</b>
          {digest && <code title={digest}>{shortDigest(digest)}</code>}
          {note && <small>{note}</small>}
        </li>
      ))}
    </ol>
  )
}

/** How many of a corpus' works were learned from, by which part where parts differ in it. */
function learnedFrom(root: string, origin: Told): string {
  const named = origin.corpus?.root === root ? origin.corpus.uses : []
  const uses = named.length ? named : (origin.receipt?.corpora ?? []).filter((use) => use.root === root).map((use) => ({ ...use, part: null }))
  const whole = uses.filter(({ part }) => !part).map(({ rows }) => many(rows, 'work'))
  const parts = uses.filter(({ part }) => part).map(({ rows, part }) => `${rows.toLocaleString('en')} for its ${PARTS[part!] ?? part}`)
  return [...whole, ...parts].join(', ')
}

/** How many works an adapter learned from, and by what right they are used. */
function taughtBy(name: string, known: Adapter[]): string {
  const consent = known.find(({ id }) => id === name)?.consent
  if (!consent) return 'What it learned from is not known.'
  const rows = Object.values(consent).reduce((sum, count) => sum + count, 0)
  return `${many(rows, 'work')}, used ${Object.keys(consent).map((basis) => BASES[basis] ?? basis).join('; ')}`
}

/** Everything that the picture was made from, nearest first. */
function links(picture: Picture, model: Model | undefined, origin: Told | undefined, known: Adapter[]): Link[] {
  const name = model?.name ?? String(picture.recipe?.model_name ?? picture.model)
  const adapters = (picture.recipe?.adapters ?? []) as { name: string; identity: string }[]
  const roots = [...new Set((origin?.receipt?.corpora ?? []).map(({ root }) => root))]
  return [
    { what: 'Picture', name: `${picture.width} × ${picture.height}`, digest: null },
    { what: 'Model', name: [name, model?.licence].filter(Boolean).join(', '), digest: picture.model_digest },
    ...adapters.map((adapter) => ({ what: 'Adapter', name: adapter.name, digest: adapter.identity, note: taughtBy(adapter.name, known) })),
    ...(origin?.parents ?? []).map((parent) => ({ what: parent.role, name: parent.name, digest: parent.identity })),
    ...roots.map((root) => ({ what: 'Corpus', name: origin?.corpus?.root === root ? origin.corpus.name : 'not on this server', digest: root, note: learnedFrom(root, origin!) })),
  ]
}

/** What is in the corpus and was not learned from. */
function beside(corpus: CorpusOrigin): string {
  const others = [corpus.held_out > 0 && `${corpus.held_out.toLocaleString('en')} held out to measure it`, corpus.refused > 0 && `${corpus.refused.toLocaleString('en')} left out by the corpus’ rules`].filter(Boolean)
  return others.length ? ` Not among them: ${others.join(', ')}.` : ''
}

function Sum({ corpus }: { corpus: CorpusOrigin }) {
  const makers = new Set(corpus.makers.map((maker) => maker.name)).size
  const rights = bases(corpus.makers.map((maker) => maker.consent)).map((basis) => BASES[basis] ?? basis)
  return (
    <p className="sum">
      The work of <b>{many(makers, 'maker')}</b>: {many(corpus.rows, 'picture')}, used {rights.join('; ')}.
      {corpus.learned ? beside(corpus) : ' That is the whole corpus: which of them it learned from, its receipt says by digest only.'}
    </p>
  )
}

function Unknown({ model, origin, error }: { model: Model | undefined; origin: Told | undefined; error: Error | null }) {
  if (error) return <p className="hint">{error.message}</p>
  if (!model) return <p className="hint">The model is no longer on this server, and with it the record of what it learned from.</p>
  if (origin?.receipt?.corpora.length) return <p className="hint">Its receipt names the corpus by digest; the list of makers is not on this server.</p>
  return <p className="hint">This model came without a record of what it learned from. Whose work is in it cannot be told.</p>
}

/** The model that a picture came from, and the makers, licences and consent of the corpus behind that. */
export function Origin({ picture }: { picture: Picture }) {
  const { data: models = [], isPending: looking } = useModels()
  const model = models.find(({ digest }) => digest === picture.model_digest)
  const { data: origin, isLoading, error } = useOrigin(model?.id)
  const { data: adapters = [] } = useAdapters()
  const corpus = origin?.corpus
  return (
    <section className="origin" aria-label="Made from">
      <h3>Made from</h3>
      {corpus && <Sum corpus={corpus} />}
      {isLoading && <p className="hint" role="status">Looking up whose works it learned from …</p>}
      <Chain links={links(picture, model, origin, adapters)} />
      {corpus && (
        <>
          <Licences corpus={corpus} />
          <Makers makers={corpus.makers} />
        </>
      )}
      {!corpus && !looking && !isLoading && <Unknown model={model} origin={origin} error={error} />}
    </section>
  )
}
