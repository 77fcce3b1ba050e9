"""A discriminative head with closed-form learning on a frozen backbone: ours, in the frame that FMST set."""
