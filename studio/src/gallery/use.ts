import { api } from '../api/client'
import type { Picture, Recall, StartRequest } from '../api/types'
import { drawSeed } from '../compose/Controls'
import { draftOf } from '../compose/request'
import { complain, say } from '../controls/notices'
import { edit, NO_EXTENSION, setSetting, setStart, type StartPicture } from '../state/draft'
import { keep } from '../state/kept'
import { queries } from '../state/server'
import { goTo, setView, show, toStage } from '../state/view'

function known() {
  const fetched = <T,>(key: string, get: () => Promise<T>) => queries.fetchQuery({ queryKey: [key], queryFn: get, staleTime: 30_000 })
  return Promise.all([fetched('models', api.models), fetched('adapters', api.adapters)]).then(([models, adapters]) => ({ models, adapters }))
}

/** Puts what a picture says into the controls; with its seed kept, the same picture is made again. */
async function takeOver(recall: Recall, sameSeed: boolean): Promise<string[]> {
  const { draft, lost } = draftOf(recall.request, await known())
  const start = await startOf(recall.request.start as StartRequest | undefined)
  edit({ ...draft, ...(start ? { start } : { extension: NO_EXTENSION }), seedLocked: sameSeed && draft.seed !== null })
  show(null)
  goTo('make')
  setView({ full: true })
  if (recall.request.start && !start) lost.push('The picture that it began with is not here any more.')
  return [...recall.warnings, ...lost]
}

/** The picture that a picture began with, where this server still has it. */
async function startOf(start: StartRequest | undefined): Promise<StartPicture | null> {
  if (!start) return null
  const url = await api.picture(start.image).then((picture) => picture.url, () => api.uploadFile(start.image))
  const size = await sizeOf(url)
  return size && { image: start.image, url, kept: null, ...size, strength: start.strength }
}

async function sizeOf(url: string): Promise<{ width: number; height: number } | null> {
  const image = new Image()
  image.src = url
  return image.decode().then(() => ({ width: image.naturalWidth, height: image.naturalHeight }), () => null)
}

async function again(picture: Picture, same: boolean, said: string): Promise<void> {
  try {
    const notes = await takeOver(await api.recallPicture(picture.id), same)
    say(said, notes.join(' ') || undefined)
  } catch (error) {
    complain(error, 'The recipe could not be taken over')
  }
}

/** Asks for pictures that are nearly this one. */
export async function vary(picture: Picture): Promise<void> {
  await again(picture, true, 'Its recipe is in the controls, and varies a little.')
  edit({ variation: { on: true, seed: drawSeed(), strength: 0.2 } })
}

export const useAgain = (picture: Picture) => again(picture, false, 'Its recipe is in the controls, with a new seed.')
export const sameSeed = (picture: Picture) => again(picture, true, 'Its recipe and seed are in the controls.')

const MULTIPLE = 8

function fitted(width: number, height: number): [number, number] {
  const down = (side: number) => Math.max(MULTIPLE, Math.floor(side / MULTIPLE) * MULTIPLE)
  return [down(width), down(height)]
}

function onCanvas(width: number, height: number, of: Pick<StartPicture, 'image' | 'url' | 'kept'>): void {
  const [w, h] = fitted(width, height)
  setStart({ ...of, width: w, height: h, strength: 0.6 })
  setSetting('width', w)
  setSetting('height', h)
  show(null)
  goTo('make')
  setView({ stage: 'canvas' })
  toStage()
}

/** Puts a picture on the canvas, to paint over it. */
export function sendToEdit(picture: Picture): void {
  edit({ prompt: picture.prompt, negative: picture.negative_prompt })
  onCanvas(picture.width, picture.height, { image: picture.id, url: picture.url, kept: null })
}

/** Puts a file on the canvas; it is kept in this browser until it is replaced. */
export async function fileToEdit(file: File): Promise<void> {
  try {
    const bitmap = await createImageBitmap(file)
    onCanvas(bitmap.width, bitmap.height, { image: null, url: null, kept: await keep(file) })
    bitmap.close()
  } catch {
    complain(new Error(`${file.name} is not a picture that this browser can show. Use PNG, JPEG or WebP.`), 'Not a picture')
  }
}

/** What happens to a file that is dropped: its recipe comes back or, if it has none, it goes onto the canvas. */
export async function recallFile(file: File): Promise<void> {
  try {
    const recall = await api.recall(file)
    if (!recall.source || !Object.keys(recall.request).length) return await noRecipe(file, recall.warnings)
    const notes = await takeOver(recall, true)
    say(`The recipe of ${file.name} is in the controls.`, [`It was made with ${SOURCES[recall.source] ?? recall.source}.`, ...notes].join(' '), {
      label: 'Put the picture on the canvas too',
      do: () => void fileToEdit(file),
    })
  } catch (error) {
    complain(error, `${file.name} could not be read`)
  }
}

async function noRecipe(file: File, why: string[]): Promise<void> {
  await fileToEdit(file)
  say(`${file.name} is on the canvas, to be painted over.`, why.join(' '))
}

const SOURCES: Record<string, string> = { impasto: 'Impasto', a1111: 'A1111', comfyui: 'ComfyUI', invokeai: 'InvokeAI' }

export async function star(picture: Picture): Promise<void> {
  const starred = !picture.starred
  queries.setQueryData(['picture', picture.id], { ...picture, starred })
  try {
    await api.star(picture.id, starred)
  } catch (error) {
    queries.setQueryData(['picture', picture.id], picture)
    complain(error)
  }
  await queries.invalidateQueries({ queryKey: ['pictures'] })
}

export async function remove(picture: Picture): Promise<void> {
  try {
    await api.remove(picture.id)
    show(null)
    await queries.invalidateQueries({ queryKey: ['pictures'] })
    queries.removeQueries({ queryKey: ['picture', picture.id] })
    say('The picture is deleted.')
  } catch (error) {
    complain(error)
  }
}
