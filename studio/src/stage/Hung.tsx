import type { CSSProperties } from 'react'

interface HungProps {
  /** Null for the bare canvas, of what has not been begun. */
  src: string | null
  alt: string
  width: number
  height: number
}

/** One picture, as large as its place allows and never cropped; small ones are enlarged. */
export function Hung({ src, alt, width, height }: HungProps) {
  const style = { '--ratio': width / height, '--natural': `${width}px` } as CSSProperties
  if (src === null) return <div className="hung bare-canvas" style={style} />
  return <img className="hung" src={src} alt={alt} width={width} height={height} style={style} />
}
