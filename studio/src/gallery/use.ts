import { api } from '../api/client'
import type { Picture } from '../api/types'
import { draftOf } from '../compose/request'
import { complain, say } from '../controls/notices'
import { edit, setStart, setSetting } from '../state/draft'
import { keep } from '../state/kept'
import { queries } from '../state/server'
import { goTo, setView, show } from '../state/view'

function known() {
  const fetched = <T,>(key: string, get: () => Promise<T>) => queries.fetchQuery({ queryKey: [key], queryFn: get, staleTime: 30_000 })
  return Promise.all([fetched('models', api.models), fetched('adapters', api.adapters)]).then(([models, adapters]) => ({ models, adapters }))
}

/** Takes a recipe or request over into the controls; with its seed kept, the same picture is made again. */
export async function takeOver(from: Record<string, unknown>, sameSeed: boolean, what: string): Promise<void> {
  try {
    const { draft, lost } = draftOf(from, await known())
    edit({ ...draft, seedLocked: sameSeed && draft.seed !== null })
    goTo('make')
    setView({ full: true })
    say(what, lost.join(' ') || undefined)
  } catch (error) {
    complain(error, 'The recipe could not be taken over')
  }
}

/** The recipe of a picture in the words of a request. */
function words(picture: Picture): Record<string, unknown> {
  const { recipe, prompt, negative_prompt, model, model_digest, seed, width, height } = picture
  return { prompt, negative_prompt, model, model_digest, seed, width, height, ...recipe }
}

export const useAgain = (picture: Picture) => takeOver(words(picture), false, 'Its recipe is in the controls, with a new seed.')
export const sameSeed = (picture: Picture) => takeOver(words(picture), true, 'Its recipe and seed are in the controls.')

const MULTIPLE = 8

function fitted(width: number, height: number): [number, number] {
  const down = (side: number) => Math.max(MULTIPLE, Math.floor(side / MULTIPLE) * MULTIPLE)
  return [down(width), down(height)]
}

function onCanvas(width: number, height: number, of: { picture: string | null; kept: string | null }): void {
  const [w, h] = fitted(width, height)
  setStart({ ...of, width: w, height: h, strength: 0.6 })
  setSetting('width', w)
  setSetting('height', h)
  show(null)
  goTo('make')
  setView({ stage: 'canvas' })
}

/** Puts a picture on the canvas, to paint over it. */
export function sendToEdit(picture: Picture): void {
  edit({ prompt: picture.prompt, negative: picture.negative_prompt })
  onCanvas(picture.width, picture.height, { picture: picture.id, kept: null })
}

/** Puts a file on the canvas; it is kept in this browser until it is replaced. */
export async function fileToEdit(file: File): Promise<void> {
  try {
    const bitmap = await createImageBitmap(file)
    onCanvas(bitmap.width, bitmap.height, { picture: null, kept: await keep(file) })
    bitmap.close()
  } catch {
    complain(new Error(`${file.name} is not a picture that this browser can show. Use PNG, JPEG or WebP.`), 'Not a picture')
  }
}

/** What is to happen to files that are dropped: their recipe comes back, or they go onto the canvas. */
export async function recallFile(file: File): Promise<void> {
  try {
    const { source, request, recipe, warnings } = await api.recall(file)
    const { draft, lost } = draftOf({ ...recipe, ...request }, await known())
    edit({ ...draft, seedLocked: draft.seed !== null })
    goTo('make')
    setView({ full: true })
    say(`The recipe of ${file.name} is in the controls.`, [`It was made with ${SOURCES[source] ?? source}.`, ...warnings, ...lost].join(' '), {
      label: 'Put the picture on the canvas too',
      do: () => void fileToEdit(file),
    })
  } catch (error) {
    if ((error as { status?: number }).status === 0) return complain(error)
    await fileToEdit(file)
    say(`${file.name} holds no recipe.`, 'It is on the canvas, to be painted over.')
  }
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
