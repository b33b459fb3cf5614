/** How a picture lies in its window: `scale` screen pixels a picture pixel, its corner at (x, y). */
export interface Viewport {
  scale: number
  x: number
  y: number
}

const SMALLEST = 0.1
const LARGEST = 40
const MARGIN = 24

export function fit(window: { width: number; height: number }, picture: { width: number; height: number }): Viewport {
  const room = [(window.width - 2 * MARGIN) / picture.width, (window.height - 2 * MARGIN) / picture.height]
  const scale = Math.min(Math.max(Math.min(...room), SMALLEST), LARGEST)
  return { scale, x: (window.width - picture.width * scale) / 2, y: (window.height - picture.height * scale) / 2 }
}

/** Zooms by `factor` so that the point (x, y) of the window stays where it is. */
export function zoom(view: Viewport, factor: number, x: number, y: number): Viewport {
  const scale = Math.min(Math.max(view.scale * factor, SMALLEST), LARGEST)
  const by = scale / view.scale
  return { scale, x: x - (x - view.x) * by, y: y - (y - view.y) * by }
}

export function toPicture(view: Viewport, x: number, y: number): [number, number] {
  return [Math.round(((x - view.x) / view.scale) * 10) / 10, Math.round(((y - view.y) / view.scale) * 10) / 10]
}
