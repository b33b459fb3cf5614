import { Brush, Eraser, Hand, Maximize, Redo2, Square, SquareDashed, Trash2, Undo2, ZoomIn, ZoomOut } from 'lucide-react'
import { useCallback, useEffect, useLayoutEffect, useRef, useState, type PointerEvent } from 'react'
import { Button, Group, Separator, ToggleButton, ToggleButtonGroup, Toolbar } from 'react-aria-components'

import { IconButton, NumberInput, Range } from '../controls'
import { edit, useDraft, type StartPicture } from '../state/draft'
import { hatch, paint, type Stroke } from './mask'
import { useStartUrl } from './StartImage'
import { fit, toPicture, zoom, type Viewport } from './viewport'

type Tool = 'paint' | 'erase' | 'box' | 'pan'

const TOOLS = [
  { id: 'paint', label: 'Paint the mask', key: 'B', Icon: Brush },
  { id: 'erase', label: 'Erase the mask', key: 'E', Icon: Eraser },
  { id: 'box', label: 'Mask a box', key: 'R', Icon: Square },
  { id: 'pan', label: 'Move the picture', key: 'H', Icon: Hand },
] as const

function add(stroke: Stroke): void {
  edit(({ strokes }) => ({ strokes: [...strokes, stroke], undone: [] }))
}

function undo(): void {
  edit(({ strokes, undone }) => (strokes.length ? { strokes: strokes.slice(0, -1), undone: [...undone, strokes.at(-1)!] } : {}))
}

function redo(): void {
  edit(({ strokes, undone }) => (undone.length ? { strokes: [...strokes, undone.at(-1)!], undone: undone.slice(0, -1) } : {}))
}

/** Whether keys belong to what is being typed. */
function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && !!target.closest('input, textarea, [role=dialog], [role=listbox]')
}

function useKeys(keys: Record<string, () => void>): void {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (typing(event.target) || event.altKey) return
      const name = `${event.ctrlKey || event.metaKey ? 'Ctrl+' : ''}${event.shiftKey && event.key.length > 1 ? 'Shift+' : ''}${event.key.length === 1 ? event.key.toLowerCase() : event.key}`
      const act = keys[event.shiftKey && event.key.toLowerCase() === 'z' ? 'Ctrl+Shift+z' : name]
      if (!act) return
      event.preventDefault()
      act()
    }
    window.addEventListener('keydown', press)
    return () => window.removeEventListener('keydown', press)
  })
}

/** Follows an element's size. */
function useSize(element: React.RefObject<HTMLElement | null>) {
  const [size, setSize] = useState({ width: 0, height: 0 })
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setSize({ width: entry!.contentRect.width, height: entry!.contentRect.height }))
    observer.observe(element.current!)
    return () => observer.disconnect()
  }, [element])
  return size
}

export function Canvas({ start }: { start: StartPicture }) {
  const url = useStartUrl(start)
  const strokes = useDraft((draft) => draft.strokes)
  const undone = useDraft((draft) => draft.undone)
  const extension = useDraft((draft) => draft.extension)
  const frame = useRef<HTMLDivElement>(null)
  const canvas = useRef<HTMLCanvasElement>(null)
  const size = useSize(frame)
  const [tool, setTool] = useState<Tool>('paint')
  const [brush, setBrush] = useState(() => Math.max(4, Math.round(Math.min(start.width, start.height) / 10)))
  const [view, setView] = useState<Viewport>({ scale: 1, x: 0, y: 0 })
  const [doing, setDoing] = useState<Stroke | null>(null)
  const [cursor, setCursor] = useState<{ x: number; y: number } | null>(null)
  const pointers = useRef(new Map<number, { x: number; y: number }>())

  const refit = useCallback(() => {
    if (size.width) setView(fit(size, start))
  }, [size, start])
  useEffect(refit, [size.width, size.height, start.width, start.height])

  useEffect(() => {
    const context = canvas.current?.getContext('2d')
    if (!context) return
    paint(context, doing ? [...strokes, doing] : strokes)
    hatch(context)
  }, [strokes, doing, start.width, start.height])

  // React listens to wheels passively, which cannot keep the page from scrolling.
  useEffect(() => {
    const element = frame.current!
    const wheel = (event: WheelEvent) => {
      event.preventDefault()
      const box = element.getBoundingClientRect()
      setView((now) => zoom(now, Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top))
    }
    element.addEventListener('wheel', wheel, { passive: false })
    return () => element.removeEventListener('wheel', wheel)
  }, [])

  const centre = (factor: number) => setView((now) => zoom(now, factor, size.width / 2, size.height / 2))
  useKeys({
    b: () => setTool('paint'),
    e: () => setTool('erase'),
    r: () => setTool('box'),
    h: () => setTool('pan'),
    '[': () => setBrush((now) => Math.max(1, Math.round(now / 1.25))),
    ']': () => setBrush((now) => Math.min(1000, Math.ceil(now * 1.25))),
    'Ctrl+z': undo,
    'Ctrl+Shift+z': redo,
    'Ctrl+y': redo,
    '0': refit,
    '+': () => centre(1.25),
    '=': () => centre(1.25),
    '-': () => centre(0.8),
  })

  const at = (event: PointerEvent) => {
    const box = frame.current!.getBoundingClientRect()
    return { x: event.clientX - box.left, y: event.clientY - box.top }
  }

  function down(event: PointerEvent) {
    if ((event.target as HTMLElement).closest('button')) return
    event.currentTarget.setPointerCapture(event.pointerId)
    pointers.current.set(event.pointerId, at(event))
    if (pointers.current.size > 1 || tool === 'pan' || event.button === 1) {
      setDoing(null)
      return
    }
    const { x, y } = at(event)
    const point = toPicture(view, x, y)
    setDoing(tool === 'box' ? { kind: 'box', from: point, to: point } : { kind: tool as 'paint' | 'erase', size: brush, points: [point] })
  }

  function move(event: PointerEvent) {
    const now = at(event)
    if (event.pointerType !== 'touch') setCursor(now)
    const before = pointers.current.get(event.pointerId)
    if (!before) return
    const others = [...pointers.current].filter(([id]) => id !== event.pointerId).map(([, point]) => point)
    pointers.current.set(event.pointerId, now)
    if (others[0]) pinch(before, now, others[0])
    else if (doing) setDoing(longer(doing, toPicture(view, now.x, now.y)))
    else setView((old) => ({ ...old, x: old.x + now.x - before.x, y: old.y + now.y - before.y }))
  }

  function pinch(before: { x: number; y: number }, now: { x: number; y: number }, other: { x: number; y: number }) {
    const far = (a: typeof before) => Math.hypot(a.x - other.x, a.y - other.y) || 1
    setView((old) => zoom(old, far(now) / far(before), other.x, other.y))
  }

  function up(event: PointerEvent) {
    pointers.current.delete(event.pointerId)
    if (doing) add(doing)
    setDoing(null)
  }

  const { left, top, right, bottom } = extension
  const place = { width: start.width * view.scale, height: start.height * view.scale, transform: `translate(${view.x}px, ${view.y}px)` }
  return (
    <div className="canvas">
      <Toolbar className="tools" aria-label="Mask tools">
        <ToggleButtonGroup aria-label="Tool" selectionMode="single" disallowEmptySelection selectedKeys={[tool]} onSelectionChange={(keys) => setTool([...keys][0] as Tool)}>
          {TOOLS.map(({ id, label, key, Icon }) => (
            <ToggleButton key={id} id={id} className="icon" aria-label={label} aria-keyshortcuts={key}>
              <Icon aria-hidden />
            </ToggleButton>
          ))}
        </ToggleButtonGroup>
        <div className="brush">
          <Range label="Brush" value={brush} min={1} max={Math.max(64, Math.round(Math.max(start.width, start.height) / 2))} onChange={setBrush} />
        </div>
        <Separator orientation="vertical" />
        <Group aria-label="Steps back and forth">
          <IconButton label="Undo" keys="Ctrl+Z" isDisabled={!strokes.length} onPress={undo}><Undo2 aria-hidden /></IconButton>
          <IconButton label="Redo" keys="Ctrl+Shift+Z" isDisabled={!undone.length} onPress={redo}><Redo2 aria-hidden /></IconButton>
          <IconButton label="Swap masked and unmasked" onPress={() => add({ kind: 'invert' })}><SquareDashed aria-hidden /></IconButton>
          <IconButton label="Clear the mask" isDisabled={!strokes.length} onPress={() => add({ kind: 'none' })}><Trash2 aria-hidden /></IconButton>
        </Group>
        <Separator orientation="vertical" />
        <Group aria-label="Zoom">
          <IconButton label="Smaller" keys="−" onPress={() => centre(0.8)}><ZoomOut aria-hidden /></IconButton>
          <Button className="plain zoomed" aria-label="Fit the picture into the window" onPress={refit}>{Math.round(view.scale * 100)} %</Button>
          <IconButton label="Larger" keys="+" onPress={() => centre(1.25)}><ZoomIn aria-hidden /></IconButton>
          <IconButton label="Fit" keys="0" onPress={refit}><Maximize aria-hidden /></IconButton>
        </Group>
      </Toolbar>
      <div
        ref={frame}
        className={`window ${tool}`}
        data-testid="canvas"
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        onPointerCancel={up}
        onPointerLeave={() => setCursor(null)}
      >
        {url === null && <p className="lost">The start picture is no longer in this browser. Drop it here again.</p>}
        <div className="sheet" style={place}>
          {url && <img src={url} alt="The picture to edit" draggable={false} />}
          <canvas ref={canvas} width={start.width} height={start.height} aria-label="The mask: what is painted here is made anew" role="img" />
          {left + top + right + bottom > 0 && (
            <div
              className="extension"
              aria-hidden
              style={{ inset: `${-top * view.scale}px ${-right * view.scale}px ${-bottom * view.scale}px ${-left * view.scale}px` }}
            />
          )}
        </div>
        {cursor && (tool === 'paint' || tool === 'erase') && (
          <span className={`ring ${tool}`} aria-hidden style={{ width: brush * view.scale, height: brush * view.scale, transform: `translate(${cursor.x}px, ${cursor.y}px) translate(-50%, -50%)` }} />
        )}
      </div>
      <Extend />
    </div>
  )
}

function longer(stroke: Stroke, point: [number, number]): Stroke {
  if (stroke.kind === 'box') return { ...stroke, to: point }
  return 'points' in stroke ? { ...stroke, points: [...stroke.points, point] } : stroke
}

/** Adds room around the picture, to be painted with the rest: outpainting. */
function Extend() {
  const extension = useDraft((draft) => draft.extension)
  return (
    <div className="extend">
      <span className="label">Extend the picture, pixels</span>
      {(['left', 'top', 'right', 'bottom'] as const).map((side) => (
        <NumberInput key={side} label={side} value={extension[side]} min={0} max={2048} step={8} onChange={(value) => edit({ extension: { ...extension, [side]: value } })} />
      ))}
    </div>
  )
}
