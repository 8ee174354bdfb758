# frozen_string_literal: true

require "json"

# A background job, kept in the database until it is done.
class Job < ApplicationRecord
  HANDLERS = {} # rubocop:disable Style/MutableConstant
  ATTEMPTS = 3

  def self.handle(name, &block)
    HANDLERS[name.to_s] = block
  end

  def self.push(name, payload)
    create!(name: name, payload: JSON.generate(payload))
  end

  # Takes the oldest free job; nobody else gets it.
  def self.take(worker)
    id = where(taken_by: nil).order(:id).limit(1).pick(:id) or return
    where(id: id, taken_by: nil).update_all(taken_by: worker) == 1 ? find(id) : :again
  end

  # Does it and forgets it in one transaction, or notes why not.
  def run
    transaction do
      destroy!
      HANDLERS.fetch(name).call(**JSON.parse(payload, symbolize_names: true))
    end
  rescue StandardError => e
    again = attempts + 1 < ATTEMPTS
    self.class.where(id: id).update_all(attempts: attempts + 1, error: "#{e.class}: #{e.message}"[0, 255], taken_by: again ? nil : "failed")
  end
end
