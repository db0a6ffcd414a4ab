"""Teaching a student: the teacher store, the losses, the stage."""
