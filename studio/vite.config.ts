import optimizeLocales from '@react-aria/optimize-locales-plugin'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

import { sourcesDigest } from './sources.ts'

const API = process.env.IMPASTO_SERVER ?? 'http://127.0.0.1:7860'

export default defineConfig({
  plugins: [
    react(),
    // The page is in English; React Aria's words in thirty other languages are half as large as the page.
    { ...optimizeLocales.vite({ locales: ['en-US'] }), enforce: 'pre' },
    {
      // What tests/studio/test_page.py compares, so that nobody ships a page that is not built from these sources.
      name: 'sources-digest',
      generateBundle() {
        this.emitFile({ type: 'asset', fileName: 'sources.sha256', source: sourcesDigest() + '\n' })
      },
    },
  ],
  build: {
    outDir: '../src/impasto/studio/page',
    emptyOutDir: true,
    target: ['chrome115', 'firefox115', 'safari16.4'],
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    // Licences ask that their text goes with every copy; /licences.txt is linked from the page's help.
    license: { fileName: 'licences.txt' },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
  },
  server: { port: 5173, strictPort: true, proxy: { '/api': API } },
})
