-- Each request signs up a distinct person; the tag separates rounds.
local tag, count = "none", 0

function init(arguments)
   tag = arguments[1] or tag
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
end

function request()
   count = count + 1
   return wrk.format(nil, nil, nil,
      string.format('{"email": "%s-%d@bench.example", "name": "Åsa Öberg"}', tag, count))
end

function done(summary, latency)
   local errors = summary.errors
   print(string.format('JSON {"requests": %d, "seconds": %f, "errors": %d, "p50_ms": %f, "p99_ms": %f}',
      summary.requests, summary.duration / 1e6,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
