// What js-ipfs 0.66 needs on Node 20 and newer. Loaded before it with `node --require`.
'use strict'

// Packages that it depends on want this function, which Node has from version 22 on.
if (typeof Promise.withResolvers !== 'function') {
  Promise.withResolvers = function withResolvers () {
    let resolve, reject
    const promise = new this((yes, no) => { resolve = yes; reject = no })
    return { promise, resolve, reject }
  }
}

// It ends itself when a promise fails unheard, which happens whenever a reader leaves while it looks for a
// block. A daemon that stays up is what the tests want: write the failure down and go on.
const once = process.once
process.once = function (event, listener) {
  if (event === 'unhandledRejection') {
    return process.on(event, (error) => { console.error('unheard:', error.message) })
  }
  return once.call(process, event, listener)
}
