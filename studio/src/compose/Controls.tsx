import { Dices, Lock, LockOpen, Plus, RotateCcw, X } from 'lucide-react'
import { Button, Group, Input, Menu, MenuItem, MenuTrigger, NumberField, Popover, ToggleButton } from 'react-aria-components'

import { api } from '../api/client'
import type { Adapter } from '../api/types'
import { Choice, IconButton, NumberInput, Range, Section, Toggle, type Option } from '../controls'
import { edit, EMPTY, setSetting, useDraft, type AxisDraft, type Draft } from '../state/draft'
import { useAdapters, useCapabilities, useDefaults, useModel, useModels } from '../state/server'
import { bytes, many } from '../words'
import { axes } from './request'
import { Shapes } from './Simple'

const MAX_SEED = 2 ** 53 - 1
/** Seeds that are drawn here stay short enough to be read out. */
const DRAWN_SEEDS = 2 ** 32

export function drawSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]! % DRAWN_SEEDS
}

export function ModelChoice() {
  const { data: models = [] } = useModels()
  const model = useModel()
  if (!model) return null
  const options: Option[] = models.map(({ id, name, family, licence, size_bytes }) => ({
    id,
    label: name,
    note: [family, size_bytes && bytes(size_bytes), licence].filter(Boolean).join(' · '),
  }))
  return <Choice label="Model" value={model.id} options={options} onChange={(id) => edit({ model: id, style: null, settings: {} })} />
}

function AdapterRow({ adapter, weight }: { adapter: Adapter; weight: number }) {
  const change = (next: number) =>
    edit(({ adapters }) => ({ adapters: adapters.map((use) => (use.id === adapter.id ? { ...use, weight: next } : use)) }))
  return (
    <li className="adapter">
      <AdapterImage adapter={adapter} />
      <div>
        <Range label={adapter.name} value={weight} min={-1} max={2} step={0.05} digits={2} onChange={change} />
        {adapter.trigger && (
          <Button className="quiet" onPress={() => edit(({ prompt }) => ({ prompt: prompt ? `${prompt}, ${adapter.trigger}` : adapter.trigger! }))}>
            Add its word “{adapter.trigger}”
          </Button>
        )}
      </div>
      <IconButton label={`Remove ${adapter.name}`} onPress={() => edit(({ adapters }) => ({ adapters: adapters.filter((use) => use.id !== adapter.id) }))}>
        <X aria-hidden />
      </IconButton>
    </li>
  )
}

function AdapterImage({ adapter }: { adapter: Adapter }) {
  if (adapter.thumbnail) return <img className="swatch" src={api.adapterThumbnail(adapter.id)} alt="" loading="lazy" />
  return (
    <span className="swatch letter" aria-hidden>
      {adapter.name.slice(0, 1)}
    </span>
  )
}

/** Embeddings are called by their name in the prompt, the others are put beside the model. */
function add(adapter: Adapter): void {
  if (adapter.kind === 'embedding') edit(({ prompt }) => ({ prompt: prompt ? `${prompt}, ${adapter.id}` : adapter.id }))
  else edit(({ adapters }) => ({ adapters: [...adapters, { id: adapter.id, weight: 1 }] }))
}

export function Adapters() {
  const { data: known = [] } = useAdapters()
  const uses = useDraft((draft) => draft.adapters)
  const rest = known.filter((adapter) => !uses.some((use) => use.id === adapter.id))
  return (
    <Section title="Adapters" note={uses.length || 'none'} open={uses.length > 0}>
      {known.length === 0 && <p className="hint">There are none. The server finds them in the folders that it is started with: impasto serve --adapters FOLDER.</p>}
      <ul className="adapters">
        {uses.map((use) => {
          const adapter = known.find(({ id }) => id === use.id)
          return adapter && <AdapterRow key={use.id} adapter={adapter} weight={use.weight} />
        })}
      </ul>
      {rest.length > 0 && (
        <MenuTrigger>
          <Button className="plain">
            <Plus aria-hidden /> Add an adapter
          </Button>
          <Popover className="popover">
            <Menu className="options" items={rest} onAction={(id) => add(rest.find((adapter) => adapter.id === id)!)}>
              {(adapter) => (
                <MenuItem id={adapter.id} textValue={adapter.name} className="with-image">
                  <AdapterImage adapter={adapter} />
                  <span>{adapter.name}</span>
                  <small>{[adapter.kind === 'lora' ? 'LoRA' : adapter.kind, adapter.base, adapter.size_bytes && bytes(adapter.size_bytes)].filter(Boolean).join(' · ')}</small>
                </MenuItem>
              )}
            </Menu>
          </Popover>
        </MenuTrigger>
      )}
    </Section>
  )
}

export function Size() {
  const defaults = useDefaults()
  const step = defaults.multiple
  const { data } = useCapabilities()
  const { width = defaults.width, height = defaults.height } = useDraft((draft) => draft.settings)
  const most = data?.limits.max_side ?? 2048
  return (
    <Section title="Size" note={`${width} × ${height}`} open>
      <Shapes note={false} />
      <div className="pair">
        <NumberInput label="Width" value={width} min={step} max={most} step={step} onChange={(value) => setSetting('width', value)} />
        <NumberInput label="Height" value={height} min={step} max={most} step={step} onChange={(value) => setSetting('height', value)} />
      </div>
    </Section>
  )
}

const same = (named: { name: string }[]): Option[] => named.map(({ name }) => ({ id: name, label: name }))

export function Sampling() {
  const defaults = useDefaults()
  const { data } = useCapabilities()
  const settings = useDraft((draft) => draft.settings)
  const { sampler, schedule, steps, guidance } = { ...defaults, ...settings }
  const changed = ['sampler', 'schedule', 'steps', 'guidance'].some((key) => key in settings)
  const reset = () => edit({ settings: pick(settings, 'width', 'height') })
  return (
    <Section title="Painting" note={`${steps} steps, guidance ${guidance}`} open>
      <Range label="Steps" value={steps} min={1} max={Math.min(data?.limits.max_steps ?? 150, 150)} onChange={(value) => setSetting('steps', value)} ends={['quick sketch', 'worked out']} />
      <Range label="Guidance" value={guidance} min={1} max={20} step={0.5} digits={1} onChange={(value) => setSetting('guidance', value)} ends={['freely', 'to the letter']} />
      <div className="pair">
        <Choice label="Sampler" value={sampler} options={same(data?.samplers ?? [])} onChange={(value) => setSetting('sampler', value)} />
        <Choice label="Schedule" value={schedule} options={same(data?.schedules ?? [])} onChange={(value) => setSetting('schedule', value)} />
      </div>
      {changed && (
        <Button className="quiet" onPress={reset}>
          <RotateCcw aria-hidden /> Back to what the model does best
        </Button>
      )}
    </Section>
  )
}

function pick<T extends object, K extends keyof T>(from: T, ...keys: K[]): Partial<Pick<T, K>> {
  return Object.fromEntries(keys.filter((key) => key in from).map((key) => [key, from[key]])) as Partial<Pick<T, K>>
}

export function Seed() {
  const { seed, seedLocked, variation } = useDraft()
  return (
    <Section title="Seed" note={seedLocked && seed !== null ? `fixed: ${seed}` : 'new each time'} open={seedLocked}>
      <div className="seed">
        <NumberField
          aria-label="Seed"
          className="field"
          value={seed ?? NaN}
          minValue={0}
          maxValue={MAX_SEED}
          formatOptions={{ useGrouping: false }}
          onChange={(value) => edit({ seed: Number.isFinite(value) ? value : null, seedLocked: Number.isFinite(value) })}
        >
          <Group className="number">
            <Input placeholder="new each time" />
          </Group>
        </NumberField>
        <IconButton label="Roll the dice" onPress={() => edit({ seed: drawSeed(), seedLocked: true })}>
          <Dices aria-hidden />
        </IconButton>
        <ToggleButton
          className="icon"
          aria-label="Keep this seed"
          isSelected={seedLocked}
          onChange={(on) => edit(({ seed: now }) => ({ seedLocked: on, seed: on ? (now ?? drawSeed()) : now }))}
        >
          {seedLocked ? <Lock aria-hidden /> : <LockOpen aria-hidden />}
        </ToggleButton>
      </div>
      <Toggle
        label="Vary a little"
        on={variation.on}
        onChange={(on) => edit({ variation: { ...variation, on, seed: on ? drawSeed() : variation.seed }, ...(on && seed !== null ? { seedLocked: true } : {}) })}
      />
      {variation.on && (
        <>
          <Range label="How much" value={variation.strength} min={0} max={1} step={0.01} digits={2} onChange={(strength) => edit({ variation: { ...variation, strength } })} ends={['the same', 'another']} />
          <div className="seed">
            <NumberInput label="Towards seed" value={variation.seed} min={0} max={MAX_SEED} onChange={(next) => edit({ variation: { ...variation, seed: next } })} />
            <IconButton label="Roll the dice for the variation" onPress={() => edit({ variation: { ...variation, seed: drawSeed() } })}>
              <Dices aria-hidden />
            </IconButton>
          </div>
        </>
      )}
    </Section>
  )
}

export function Finish() {
  const { hires, seamless, clipSkip, start, extras } = useDraft()
  const others = Object.entries(extras).map(([key, value]) => `${key.replaceAll('_', ' ')} ${typeof value === 'object' ? JSON.stringify(value) : value}`)
  const on = [hires.on && !start && `${hires.scale} × larger`, seamless && 'seamless', clipSkip > 1 && `clip skip ${clipSkip}`, others.length && many(others.length, 'recalled setting')].filter(Boolean)
  const seams: Option[] = [
    { id: '', label: 'Off' },
    { id: 'xy', label: 'All around' },
    { id: 'x', label: 'Left to right' },
    { id: 'y', label: 'Top to bottom' },
  ]
  return (
    <Section title="More" note={on.join(', ') || 'off'}>
      {!start && <Toggle label="Paint a second, larger pass" on={hires.on} onChange={(value) => edit({ hires: { ...hires, on: value } })} />}
      {hires.on && !start && (
        <>
          <Range label="Times larger" value={hires.scale} min={1.25} max={4} step={0.25} digits={2} onChange={(scale) => edit({ hires: { ...hires, scale, given: null } })} />
          <Range label="How much to repaint" value={hires.strength} min={0.05} max={1} step={0.05} digits={2} onChange={(strength) => edit({ hires: { ...hires, strength } })} />
        </>
      )}
      <div className="pair">
        <Choice label="Seamless" value={seamless} options={seams} onChange={(value) => edit({ seamless: value as Draft['seamless'] })} />
        <NumberInput label="Clip skip" value={clipSkip} min={1} max={12} onChange={(value) => edit({ clipSkip: value })} />
      </div>
      {others.length > 0 && (
        <div className="field">
          <span className="label">Recalled with the picture</span>
          <p className="hint">{others.join(', ')}</p>
          <Button className="quiet" onPress={() => edit({ extras: {} })}>Forget them</Button>
        </div>
      )}
    </Section>
  )
}

const AXES: { id: string; label: string; hint: string }[] = [
  { id: 'steps', label: 'Steps', hint: '10, 20, 30' },
  { id: 'guidance', label: 'Guidance', hint: '2:8:4 for four from 2 to 8' },
  { id: 'seed', label: 'Seed', hint: '1:4 for 1, 2, 3, 4' },
  { id: 'sampler', label: 'Sampler', hint: 'euler, heun' },
  { id: 'schedule', label: 'Schedule', hint: 'karras, normal' },
  { id: 'prompt', label: 'Words in the prompt', hint: 'fox | owl, in the place of {}' },
  { id: 'width', label: 'Width', hint: '384, 512' },
  { id: 'height', label: 'Height', hint: '384, 512' },
]

function AxisRow({ label, axis, optional = false, onChange }: { label: string; axis: AxisDraft; optional?: boolean; onChange: (axis: AxisDraft) => void }) {
  const options = [...(optional ? [{ id: '', label: 'Nothing' }] : []), ...AXES]
  const hint = AXES.find(({ id }) => id === axis.name)?.hint ?? ''
  return (
    <div className="axis">
      <Choice label={label} value={axis.name} options={options.map(({ id, label: text }) => ({ id, label: text }))} onChange={(name) => onChange({ ...axis, name })} />
      <label className="field">
        <span className="label">Values</span>
        <input value={axis.values} placeholder={hint} disabled={!axis.name} onChange={(event) => onChange({ ...axis, values: event.target.value })} />
      </label>
    </div>
  )
}

export function Grid() {
  const draft = useDraft()
  const { grid } = draft
  const wanted = grid.on ? axes(draft) : []
  const total = wanted.reduce((product, axis) => product * axis.values.length, 1)
  return (
    <Section title="Grid" note={grid.on ? (wanted.length ? `${total} pictures` : 'no values yet') : 'off'} open={grid.on}>
      <Toggle label="Compare settings side by side" on={grid.on} onChange={(on) => edit({ grid: { ...grid, on } })} />
      {grid.on && (
        <>
          <AxisRow label="Across" axis={grid.x} onChange={(x) => edit({ grid: { ...grid, x } })} />
          <AxisRow label="Down" optional axis={grid.y} onChange={(y) => edit({ grid: { ...grid, y } })} />
        </>
      )}
    </Section>
  )
}

/** Forgets what was chosen, not what was written. */
export function resetControls(): void {
  edit(({ prompt, negative, model, start, strokes, undone }) => ({ ...EMPTY, prompt, negative, model, start, strokes, undone }))
}
