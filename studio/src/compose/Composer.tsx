import { ImageOff, SlidersHorizontal } from 'lucide-react'
import { useState } from 'react'
import { Button, ToggleButton } from 'react-aria-components'

import { Choice, NumberInput, Range, Section, Toggle } from '../controls'
import { complain } from '../controls/notices'
import { StartImage } from '../edit/StartImage'
import { edit, setStart, useDraft, type MaskSettings } from '../state/draft'
import { learn, useCapabilities, useLive, useModel } from '../state/server'
import { setView, toStage, useView } from '../state/view'
import { Adapters, Finish, Grid, ModelChoice, resetControls, Sampling, Seed, Size } from './Controls'
import { PromptBox } from './PromptBox'
import { make } from './request'
import { Shapes, Styles } from './Simple'

/** Sends the draft and turns the stage to it. */
export function useMake() {
  const model = useModel()
  const [sending, setSending] = useState(false)
  async function send() {
    if (!model || sending) return
    setSending(true)
    try {
      const job = await make(useDraft.getState(), model)
      learn(job)
      setView({ job: job.id, stage: 'result' })
      toStage()
    } catch (error) {
      complain(error, 'This could not be made')
    } finally {
      setSending(false)
    }
  }
  return { send, sending, ready: !!model }
}

function StartSection() {
  const start = useDraft((draft) => draft.start)
  const mask = useDraft((draft) => draft.mask)
  const masked = useDraft((draft) => draft.strokes.length > 0)
  if (!start) return null
  const change = (next: Partial<MaskSettings>) => edit({ mask: { ...mask, ...next } })
  return (
    <Section title="Start picture" note={masked ? 'masked part' : `${start.width} × ${start.height}`} open>
      <div className="start">
        <StartImage start={start} className="swatch large" />
        <div>
          <Range label="How much to repaint" value={start.strength} min={0.05} max={1} step={0.05} digits={2} onChange={(strength) => edit({ start: { ...start, strength } })} ends={['touch up', 'paint over']} />
        </div>
      </div>
      <div className="row">
        <Button className="plain" onPress={() => { setView({ stage: 'canvas' }); toStage() }}>Paint a mask</Button>
        <Button className="plain" onPress={() => setStart(null)}>
          <ImageOff aria-hidden /> Begin without it
        </Button>
      </div>
      {masked && (
        <>
          <div className="pair">
            <Choice
              label="Work on"
              value={mask.area}
              options={[{ id: 'whole', label: 'Whole picture' }, { id: 'masked', label: 'Masked part', note: 'Enlarged while it is painted, for fine detail' }]}
              onChange={(area) => change({ area: area as MaskSettings['area'] })}
            />
            <Choice
              label="Mask begins as"
              value={mask.content}
              options={[
                { id: 'original', label: 'What was there' },
                { id: 'fill', label: 'Its surroundings' },
                { id: 'noise', label: 'Noise' },
                { id: 'nothing', label: 'Nothing' },
              ]}
              onChange={(content) => change({ content: content as MaskSettings['content'] })}
            />
          </div>
          <div className="pair">
            <NumberInput label="Soft edge, pixels" value={mask.blur} min={0} max={64} onChange={(blur) => change({ blur })} />
            {mask.area === 'masked' && <NumberInput label="Pixels around it" value={mask.padding} min={0} max={256} step={8} onChange={(padding) => change({ padding })} />}
          </div>
          <Toggle label="Paint outside the mask instead" on={mask.invert} onChange={(invert) => change({ invert })} />
        </>
      )}
    </Section>
  )
}

function Count() {
  const count = useDraft((draft) => draft.count)
  const { data } = useCapabilities()
  return <NumberInput label="Pictures" value={count} min={1} max={data?.limits.max_count ?? 16} onChange={(value) => edit({ count: value })} />
}

export function Composer() {
  const full = useView((view) => view.full)
  const grid = useDraft((draft) => draft.grid.on)
  const start = useDraft((draft) => draft.start)
  const away = useLive((live) => live.connection === 'away')
  const { send, sending, ready } = useMake()
  return (
    <section className="composer" aria-label="What to make">
      <div className="controls">
        <PromptBox />
        <Styles />
        <StartSection />
        {full ? (
          <>
            <ModelChoice />
            <Adapters />
            <Size />
            <Sampling />
            <Seed />
            <Finish />
            <Grid />
            <Button className="quiet" onPress={resetControls}>Reset all controls</Button>
          </>
        ) : (
          !start && <Shapes />
        )}
      </div>
      <div className="makebar">
        {!grid && <Count />}
        <Button className="make" onPress={() => void send()} isDisabled={!ready || away} isPending={sending}>
          {sending ? 'Sending' : grid ? 'Make the grid' : 'Make'}
        </Button>
        <ToggleButton className="plain all" isSelected={full} onChange={(on) => setView({ full: on })}>
          <SlidersHorizontal aria-hidden /> <span>{full ? 'Fewer controls' : 'All controls'}</span>
        </ToggleButton>
      </div>
    </section>
  )
}
