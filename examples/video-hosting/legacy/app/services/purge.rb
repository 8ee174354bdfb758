# frozen_string_literal: true

# Forgets months that are no longer kept, a batch at a time, without loading a row.
module Purge
  module_function

  def charges_before(period, batch: 50)
    gone = 0
    loop do
      ids = Charge.where("period < ?", period).order(reverses_id: :desc, id: :desc).where(
        "NOT EXISTS (SELECT 1 FROM charges r WHERE r.reverses_id = charges.id)"
      ).limit(batch).pluck(:id)
      break gone if ids.empty?

      gone += Charge.where(id: ids).delete_all
    end
  end
end
