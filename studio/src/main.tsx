import { QueryClientProvider } from '@tanstack/react-query'
import { StrictMode } from 'react'
import { I18nProvider } from 'react-aria-components'
import { createRoot } from 'react-dom/client'

import { App } from './shell/App'
import { queries } from './state/server'
import { applyTheme, useView } from './state/view'
import './style/base.css'
import './style/controls.css'
import './style/compose.css'
import './style/stage.css'
import './style/gallery.css'
import './style/edit.css'

applyTheme(useView.getState().theme)
createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <I18nProvider locale="en-US">
        <App />
      </I18nProvider>
    </QueryClientProvider>
  </StrictMode>,
)
