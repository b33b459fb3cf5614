/** One act on the mask; points are in pixels of the picture. */
export type Stroke =
  | { kind: 'paint' | 'erase'; size: number; points: [number, number][] }
  | { kind: 'box'; from: [number, number]; to: [number, number] }
  | { kind: 'all' | 'none' | 'invert' }

/** Paints what the strokes say, white on nothing, onto a canvas of the picture's size. */
export function paint(context: CanvasRenderingContext2D, strokes: readonly Stroke[]): void {
  const { width, height } = context.canvas
  context.clearRect(0, 0, width, height)
  context.fillStyle = context.strokeStyle = '#fff'
  context.lineCap = context.lineJoin = 'round'
  strokes.forEach((stroke) => apply(context, stroke))
  context.globalCompositeOperation = 'source-over'
}

function apply(context: CanvasRenderingContext2D, stroke: Stroke): void {
  const { width, height } = context.canvas
  context.globalCompositeOperation = stroke.kind === 'erase' ? 'destination-out' : stroke.kind === 'invert' ? 'xor' : 'source-over'
  if (stroke.kind === 'none') context.clearRect(0, 0, width, height)
  else if (stroke.kind === 'all' || stroke.kind === 'invert') context.fillRect(0, 0, width, height)
  else if (stroke.kind === 'box') context.fillRect(...box(stroke.from, stroke.to))
  else if ('points' in stroke) line(context, stroke.size, stroke.points)
}

function box(from: [number, number], to: [number, number]): [number, number, number, number] {
  return [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(from[0] - to[0]), Math.abs(from[1] - to[1])]
}

function line(context: CanvasRenderingContext2D, size: number, points: [number, number][]): void {
  const [first, ...rest] = points
  if (!first) return
  context.lineWidth = size
  context.beginPath()
  context.moveTo(...first)
  if (!rest.length) context.lineTo(first[0] + 0.01, first[1])
  rest.forEach((point) => context.lineTo(...point))
  context.stroke()
}

const STRIPES = 48

/** Turns what is painted into stripes of light and dark, which are seen on a picture of any colour. */
export function hatch(context: CanvasRenderingContext2D): void {
  const { width, height } = context.canvas
  const step = Math.max(3, Math.min(width, height) / STRIPES)
  context.globalCompositeOperation = 'source-in'
  context.fillStyle = '#ffffffa0'
  context.fillRect(0, 0, width, height)
  context.globalCompositeOperation = 'source-atop'
  context.strokeStyle = '#2a0f05d0'
  context.lineWidth = step / 2
  context.beginPath()
  for (let x = -height; x < width; x += step) {
    context.moveTo(x, height)
    context.lineTo(x + height, 0)
  }
  context.stroke()
  context.globalCompositeOperation = 'source-over'
}

/** The mask as the server wants it: white where to paint, black elsewhere; null when nothing is masked. */
export async function maskFile(strokes: readonly Stroke[], width: number, height: number): Promise<Blob | null> {
  const canvas = document.createElement('canvas')
  canvas.width = width
  canvas.height = height
  const context = canvas.getContext('2d', { willReadFrequently: true })!
  paint(context, strokes)
  if (!context.getImageData(0, 0, width, height).data.some((value) => value > 0)) return null
  context.globalCompositeOperation = 'destination-over'
  context.fillStyle = '#000'
  context.fillRect(0, 0, width, height)
  return new Promise((resolve, reject) => {
    canvas.toBlob((file) => (file ? resolve(file) : reject(new Error('This browser could not write the mask.'))), 'image/png')
  })
}
