-- What an agent reports belongs to the set of its boot.
CREATE INDEX script_sets_boot ON script_sets (boot_id);
