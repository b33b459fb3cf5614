import { Star } from 'lucide-react'

import type { Picture } from '../api/types'
import { show } from '../state/view'

/** A picture in a row or on a wall of others. */
export function Tile({ picture, full = false }: { picture: Picture; full?: boolean }) {
  return (
    <button type="button" className="tile" data-picture={picture.id} onClick={() => show(picture.id)}>
      <img
        src={full ? picture.url : picture.thumbnail}
        alt={picture.prompt || 'Untitled'}
        width={picture.width}
        height={picture.height}
        loading="lazy"
        decoding="async"
      />
      {picture.starred && <Star className="starred" aria-label="Starred" />}
    </button>
  )
}
