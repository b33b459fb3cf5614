import { Radio, RadioGroup, Label, ToggleButton, ToggleButtonGroup } from 'react-aria-components'

import type { Defaults } from '../api/types'
import { edit, setSetting, useDraft } from '../state/draft'
import { useDefaults, useModel } from '../state/server'
import { multiple } from './request'

/** The styles that the model was taught, to be put after the words. */
export function Styles() {
  const model = useModel()
  const style = useDraft((draft) => draft.style)
  if (!model?.styles?.length) return null
  return (
    <div className="field">
      <span className="label" id="styles">Style</span>
      <ToggleButtonGroup
        className="chips"
        aria-labelledby="styles"
        selectionMode="single"
        selectedKeys={style ? [style] : []}
        onSelectionChange={(keys) => edit({ style: ([...keys][0] as string | undefined) ?? null })}
      >
        {model.styles.map((known) => (
          <ToggleButton key={known.name} id={known.name} className="chip">
            {known.name}
          </ToggleButton>
        ))}
      </ToggleButtonGroup>
    </div>
  )
}

const SHAPES = [
  { id: 'square', label: 'Square', ratio: 1 },
  { id: 'portrait', label: 'Portrait', ratio: 3 / 4 },
  { id: 'landscape', label: 'Landscape', ratio: 4 / 3 },
  { id: 'tall', label: 'Tall', ratio: 9 / 16 },
  { id: 'wide', label: 'Wide', ratio: 16 / 9 },
] as const

/** Sides with about the area that the model was trained at. */
function sides({ width, height, multiple: of }: Defaults, ratio: number): [number, number] {
  const area = width * height
  return [multiple(Math.sqrt(area * ratio), of), multiple(Math.sqrt(area / ratio), of)]
}

/** Sizes to choose by their shape. */
export function Shapes({ note = true }: { note?: boolean }) {
  const defaults = useDefaults()
  const { width = defaults.width, height = defaults.height } = useDraft((draft) => draft.settings)
  const chosen = SHAPES.find(({ ratio }) => sides(defaults, ratio).join() === [width, height].join())?.id ?? ''
  return (
    <RadioGroup
      className="field"
      value={chosen}
      onChange={(id) => {
        const [w, h] = sides(defaults, SHAPES.find((shape) => shape.id === id)!.ratio)
        setSetting('width', w === defaults.width ? undefined : w)
        setSetting('height', h === defaults.height ? undefined : h)
      }}
    >
      <Label>
        Shape {note && <span className="note">{`${width} × ${height}`}</span>}
      </Label>
      <div className="shapes">
        {SHAPES.map(({ id, label, ratio }) => (
          <Radio key={id} value={id} className="shape" aria-label={label}>
            <span className={`frame ${id}`} style={{ aspectRatio: ratio }} />
            {label}
          </Radio>
        ))}
      </div>
    </RadioGroup>
  )
}
