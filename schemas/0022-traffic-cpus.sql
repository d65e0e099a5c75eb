-- Where the threads of a tier's traffic ran: on the initiator's node first, siblings of a core last.

ALTER TABLE tier_figure ADD COLUMN traffic_cpus TEXT NOT NULL DEFAULT ''; -- '1-7,12'; '': no traffic, or not kept (older figures)
