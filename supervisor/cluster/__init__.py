"""Makes a run one host of a cluster: what runs here by the page of its agent; how it joins, follows and leaves."""
