"""The tables of targets that `perf/run` fills in and `perf/draw` draws."""

# Scenario: target of the ratio to the first broker's CPU per message (None: watched, not judged).
SPEED = {
    "pairs_rt": 0.70,
    "pairs": 0.042,
    "fanin": 0.042,
    "fanout": 0.028,
    "fanin_4k": 0.24,
    "qos1": 0.07,
    "qos2": 0.06,
    "subs": 0.10,
    "topics": None,
    "retained": 0.19,
    "connect": 0.81,
    "rate": 1.0,
    "thin": 1.0,
    "flood": None,
}

# The same inside TLS 1.3, of both brokers, and of WebSockets to the same broker's TCP.
TLS = {"pairs_rt": 0.6, "pairs": 0.1, "fanout": 0.1, "qos1": 0.1, "fanin_4k": 0.6}
WEBSOCKET = {"pairs_rt": 1.15, "pairs": 1.15, "fanin": 1.15, "fanout": 1.15, "qos1": 1.15, "fanin_4k": 1.15}

# Scenario of the memory table, column of the generator, words, divisor, unit, target.
MEMORY = [
    ("base", "rss_bytes", "RSS at rest", 1 << 20, "MiB", 4),
    ("idle", "rss_bytes_each", "RSS per idle connection (10,000)", 1, "B", 1024),
    ("idle_v5", "rss_bytes_each", "the same, MQTT 5.0", 1, "B", 1024),
    ("filters", "rss_bytes_each", "RSS per filter (100,000)", 1, "B", 150),
    ("retained_mem", "rss_bytes_each", "RSS per retained message (64 B)", 1, "B", 300),
    ("idle", "idle_wakeups_per_s", "idle wake-ups, 10,000 clients", 1, "/s", 1),
    ("idle", "idle_cpu_ms_per_s", "idle CPU, 10,000 clients", 1, "ms/s", None),
    ("idle", "cpu_us_each", "CPU per connect + subscribe", 1, "us", None),
    ("flood", "rss_peak_bytes", "peak RSS, flood", 1 << 20, "MiB", 16),
    ("flood", "lost", "lost, flood", 1, "", 0),
    ("flood", "p99_us", "p99 of a 100 msg/s pair beside the flood", 1000, "ms", 5),
    ("stuck", "rss_bytes_each", "RSS per subscriber that never reads, 32 MiB of QoS 0", 1 << 10, "KiB", 256),
    ("stuck_qos1", "rss_bytes_each", "the same at QoS 1", 1 << 20, "MiB", 18),
]
