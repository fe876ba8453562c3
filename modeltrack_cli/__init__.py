"""The command `modeltrack`, for a machine of one's own: it fetches what must not be fetched by us.

    modeltrack reconcile   reads the providers' cost reports, and posts what each day cost by model
    modeltrack collect     reads what infrastructure cost, and posts that
    modeltrack doctor      looks at a deployment from outside, and says what is wrong and what to do

Credentials of providers and of clouds stay here: they are read from the environment or asked for, sent to
their own provider alone, and stand in no argument, no output and no request to ModelTrack.
"""
