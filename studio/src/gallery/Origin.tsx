import { ExternalLink } from 'lucide-react'
import { useState } from 'react'
import { Button } from 'react-aria-components'

import type { CorpusOrigin, MakerCredit, Picture } from '../api/types'
import { useModels, useOrigin } from '../state/server'
import { many, shortDigest } from '../words'

const FIRST_MAKERS = 8

/** In which way makers agreed, in words. */
const CONSENT: Record<string, string> = {
  licence: 'by the licence they chose',
  'opt-in': 'asked, and agreed',
  own: 'own work',
  'public-domain': 'in the public domain',
}

function consents(makers: MakerCredit[]): string {
  const found = [...new Set(makers.map((maker) => maker.consent).filter((consent) => consent !== null))]
  return found.map((consent) => CONSENT[consent] ?? consent).join('; ')
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

/** `consent` is said where makers differ in it; otherwise the sum above says it of all. */
function Maker({ maker, consent }: { maker: MakerCredit; consent: boolean }) {
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
      <small>{[maker.collection, maker.licences.join(', '), consent && maker.consent && (CONSENT[maker.consent] ?? maker.consent)].filter(Boolean).join(' · ')}</small>
    </li>
  )
}

function Makers({ makers }: { makers: MakerCredit[] }) {
  const [all, setAll] = useState(false)
  const consent = new Set(makers.map((maker) => maker.consent)).size > 1
  const shown = all ? makers : makers.slice(0, FIRST_MAKERS)
  return (
    <>
      <ul className="makers">
        {shown.map((maker, k) => (
          <Maker key={`${maker.name} ${k}`} maker={maker} consent={consent} />
        ))}
      </ul>
      {makers.length > shown.length && (
        <Button className="quiet" onPress={() => setAll(true)}>{`Show all ${makers.length} makers`}</Button>
      )}
    </>
  )
}

function Chain({ links }: { links: { what: string; name: string; digest: string | null }[] }) {
  return (
    <ol className="chain">
      {links.map(({ what, name, digest }) => (
        <li key={what}>
          <span>{what}</span>
          <b>{name}</b>
          {digest && <code title={digest}>{shortDigest(digest)}</code>}
        </li>
      ))}
    </ol>
  )
}

/** The model that a picture came from, and the makers, licences and consent of the corpus behind that. */
export function Origin({ picture }: { picture: Picture }) {
  const { data: models = [] } = useModels()
  const model = models.find(({ id, digest }) => id === picture.model || (digest !== null && digest === picture.model_digest))
  const { data: origin, isPending, error } = useOrigin(model?.id)
  const corpus = origin?.corpus ?? null
  const name = model?.name ?? String(picture.recipe?.model_name ?? picture.model)
  return (
    <section className="origin" aria-label="Made from">
      <h3>Made from</h3>
      {corpus && (
        <p className="sum">
          The work of <b>{many(new Set(corpus.makers.map((maker) => maker.name)).size, 'maker')}</b>: {many(corpus.rows, 'picture')}
          {consents(corpus.makers) && `, used ${consents(corpus.makers)}`}.
        </p>
      )}
      <Chain
        links={[
          { what: 'Picture', name: `${picture.width} × ${picture.height}`, digest: null },
          { what: 'Model', name: [name, model?.licence].filter(Boolean).join(', '), digest: picture.model_digest },
          ...(origin?.parents ?? []).map((parent, k) => ({ what: parent.role ?? `Parent ${k + 1}`, name: parent.name ?? 'unnamed', digest: parent.digest ?? null })),
          ...(corpus ? [{ what: 'Corpus', name: corpus.name ?? many(corpus.rows, 'row'), digest: corpus.root }] : []),
        ]}
      />
      {corpus && (
        <>
          <Licences corpus={corpus} />
          <Makers makers={corpus.makers} />
        </>
      )}
      {!corpus && !(model && isPending) && (
        <p className="hint">
          {error
            ? error.message
            : model
              ? 'This model came without a record of what it learned from. Whose work is in it cannot be told.'
              : 'The model is no longer on this server, and with it the record of what it learned from.'}
        </p>
      )}
    </section>
  )
}
