import { ChevronDown, Minus, Plus } from 'lucide-react'
import type { ReactNode } from 'react'
import {
  Button,
  Disclosure,
  DisclosurePanel,
  Group,
  Heading,
  Input,
  Label,
  ListBox,
  ListBoxItem,
  NumberField,
  Popover,
  Select,
  SelectValue,
  Slider,
  SliderOutput,
  SliderThumb,
  SliderTrack,
  Switch,
  Tooltip,
  TooltipTrigger,
  type ButtonProps,
} from 'react-aria-components'

/** A button that is an icon; its name is said on hover and to screen readers. */
export function IconButton({ label, keys, children, className = '', ...props }: { label: string; keys?: string; children: ReactNode; className?: string } & Omit<ButtonProps, 'children' | 'className'>) {
  return (
    <TooltipTrigger delay={500}>
      <Button {...props} aria-label={label} className={`icon ${className}`}>
        {children}
      </Button>
      <Tooltip className="tip">
        {label}
        {keys && <kbd>{keys}</kbd>}
      </Tooltip>
    </TooltipTrigger>
  )
}

/** A folding part of the controls. */
export function Section({ title, note, children, open = false }: { title: string; note?: ReactNode; children: ReactNode; open?: boolean }) {
  return (
    <Disclosure className="section" defaultExpanded={open}>
      <Heading level={3}>
        <Button slot="trigger">
          <ChevronDown aria-hidden className="chevron" />
          <span>{title}</span>
          {note !== undefined && <span className="note">{note}</span>}
        </Button>
      </Heading>
      <DisclosurePanel className="section-body">{children}</DisclosurePanel>
    </Disclosure>
  )
}

export interface Option {
  id: string
  label: string
  note?: string
}

/** One of several, from a list that opens. */
export function Choice({ label, value, options, onChange, hideLabel = false }: { label: string; value: string; options: Option[]; onChange: (value: string) => void; hideLabel?: boolean }) {
  return (
    <Select className="field" aria-label={hideLabel ? label : undefined} selectedKey={value} onSelectionChange={(key) => onChange(String(key))}>
      {!hideLabel && <Label>{label}</Label>}
      <Button className="select">
        <SelectValue>{({ selectedText }) => selectedText || value || 'Choose'}</SelectValue>
        <ChevronDown aria-hidden />
      </Button>
      <Popover className="popover">
        <ListBox className="options" items={options}>
          {(option) => (
            <ListBoxItem id={option.id} textValue={option.label}>
              <span>{option.label}</span>
              {option.note && <small>{option.note}</small>}
            </ListBoxItem>
          )}
        </ListBox>
      </Popover>
    </Select>
  )
}

interface NumberProps {
  label: string
  value: number
  min: number
  max: number
  step?: number
  onChange: (value: number) => void
  hideLabel?: boolean
  digits?: number
}

/** A number to type or to step. */
export function NumberInput({ label, value, min, max, step = 1, onChange, hideLabel = false, digits = 0 }: NumberProps) {
  return (
    <NumberField
      className="field"
      aria-label={hideLabel ? label : undefined}
      value={value}
      minValue={min}
      maxValue={max}
      step={step}
      formatOptions={{ maximumFractionDigits: digits, useGrouping: false }}
      onChange={(next) => Number.isFinite(next) && onChange(next)}
    >
      {!hideLabel && <Label>{label}</Label>}
      <Group className="number">
        <Button slot="decrement">
          <Minus aria-hidden />
        </Button>
        <Input />
        <Button slot="increment">
          <Plus aria-hidden />
        </Button>
      </Group>
    </NumberField>
  )
}

/** A number whose place between its ends says more than its digits. */
export function Range({ label, value, min, max, step = 1, onChange, digits = 0, ends }: NumberProps & { ends?: [string, string] }) {
  return (
    <Slider className="field range" value={value} minValue={min} maxValue={max} step={step} onChange={(next) => onChange(next as number)}>
      <Label>{label}</Label>
      <SliderOutput>{value.toFixed(digits)}</SliderOutput>
      <SliderTrack className="track">
        {({ state }) => (
          <>
            <div className="rail" />
            <div className="fill" style={{ width: `${state.getThumbPercent(0) * 100}%` }} />
            <SliderThumb className="thumb" />
          </>
        )}
      </SliderTrack>
      {ends && (
        <div className="ends" aria-hidden>
          <span>{ends[0]}</span>
          <span>{ends[1]}</span>
        </div>
      )}
    </Slider>
  )
}

export function Toggle({ label, on, onChange }: { label: ReactNode; on: boolean; onChange: (on: boolean) => void }) {
  return (
    <Switch className="toggle" isSelected={on} onChange={onChange}>
      <span className="knob" aria-hidden />
      {label}
    </Switch>
  )
}
