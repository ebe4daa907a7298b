-- As it was, who takes from a kind could be led to it: it is smaller than the index of
-- what is free, and a plan that is kept then reads the whole kind and sorts it. Only who
-- asks what was freed says that something was.
DROP INDEX twophase_resources_freed;
CREATE INDEX twophase_resources_freed ON twophase_resources (participant, kind, freed)
	WHERE transaction IS NULL AND freed IS NOT NULL;
